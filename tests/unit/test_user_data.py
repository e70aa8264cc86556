"""Batches from a user's class, and the digits of ELEKTRONN 1."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.errors import ConfigError, DataError
from elektronn.legacy.digits import MNISTData
from elektronn.sampling.data import DataSettings
from elektronn.sampling.user_data import UserBatches, open_user_data

OLD_STYLE = """
import numpy as np

class Squares:
    n_lab = 2
    def __init__(self, side=4):
        self.side = side
    def getbatch(self, batch_size, source="train", noise=0.0):
        labels = np.random.randint(0, 2, batch_size)
        x = np.zeros((batch_size, 1, self.side, 2 * self.side)) + labels[:, None, None, None]
        x[0, 0, 1, 3] = 9
        return (x + noise * np.random.randn(*x.shape)).astype("float32"), labels.astype("int16")

class Broken:
    def getbatch(self, batch_size, source="train"):
        return 1 / 0

class Nothing:
    pass

class Uneven(Squares):
    def getbatch(self, batch_size, source="train"):
        x, y = Squares.getbatch(self, batch_size)
        return x, y[1:]

class Hollow(Squares):
    def getbatch(self, batch_size, source="train"):
        x, y = Squares.getbatch(self, batch_size)
        x[0, 0, 0, 0] = np.nan
        return x, y
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OLD_STYLE)
    return tmp_path / "mine.py"


def batches(file: Path, name: str = "Squares", **more: Any) -> UserBatches:
    said = DataSettings(name=f"{file}:{name}")
    return UserBatches(open_user_data(said), said.name, "train", 6, 1, more)


def test_an_old_class_gives_batches_in_our_axes(file: Path) -> None:
    batch = batches(file).batch(3)
    assert batch.image.shape == (6, 1, 1, 8, 4)
    assert batch.image[0, 0, 0, 3, 1] == 9
    assert batch.labels.shape == (6, 1, 1, 1)
    np.testing.assert_array_equal(batch.image[:, 0, 0, 0, 0], batch.labels[:, 0, 0, 0])


def test_the_same_step_gives_the_same_batch_and_another_step_another(file: Path) -> None:
    one, two = batches(file, noise=0.1), batches(file, noise=0.1)
    two.batch(7)
    assert one.batch(5).image.tobytes() == two.batch(5).image.tobytes()
    assert one.batch(5).image.tobytes() != two.batch(6).image.tobytes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "Broken",
            r"getbatch of step 0: ZeroDivisionError: division by zero \(.*mine.py, line 16\); correct that code",
        ),
        ("Uneven", r"5 labels for 6 examples"),
        ("Hollow", r"NaN or infinite"),
    ],
)
def test_what_is_wrong_with_a_batch_is_said(file: Path, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        batches(file, name).batch(0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nothing", "has no method getbatch"),
        ("Sqares", "did you mean 'Squares'"),
    ],
)
def test_what_is_wrong_with_a_class_is_said(file: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        batches(file, name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.py:A", "nowhere.py: no such file"),
        ("no_such_module:A", "cannot be imported: ModuleNotFoundError"),
        ("A", "write package.module:Name or file.py:Name"),
    ],
)
def test_a_class_that_is_not_there_is_named(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_user_data(DataSettings(name=name))


def test_a_file_that_fails_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(ConfigError, match=r"ZeroDivisionError: division by zero \(.*bad.py, line 2\)"):
        open_user_data(DataSettings(name=f"{tmp_path}/bad.py:A"))


def test_unknown_arguments_of_a_class_are_named(file: Path) -> None:
    with pytest.raises(ConfigError, match="unexpected keyword argument 'edge'"):
        open_user_data(DataSettings(name=f"{file}:Squares", load={"edge": 3}))


SHAPES = [
    ((5, 7), (5,), np.int64, (5, 7, 1, 1, 1), (5, 1, 1, 1)),
    ((5, 9, 3), (5, 2), np.float32, (5, 3, 9, 1, 1), (5, 2, 1, 1, 1)),
    ((5, 2, 6, 4), (5, 6, 4), np.int8, (5, 2, 1, 4, 6), (5, 1, 4, 6)),
    ((5, 3, 2, 6, 4), (5, 3, 6, 4), np.float64, (5, 2, 3, 4, 6), (5, 1, 3, 4, 6)),
    ((5, 7), (5,), np.float32, (5, 7, 1, 1, 1), (5, 1, 1, 1, 1)),
    ((5, 7), (5, 4), np.int32, (5, 7, 1, 1, 1), (5, 4, 1, 1, 1)),
]


@pytest.mark.parametrize(("data", "labels", "dtype", "image", "targets"), SHAPES)
def test_every_shape_of_the_old_contract(
    data: tuple[int, ...], labels: tuple[int, ...], dtype: Any, image: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    class Given:
        def getbatch(self, batch_size: int, source: str = "train") -> Any:
            return np.zeros(data), np.zeros(labels, dtype)

    batch = UserBatches(Given(), "Given", "train", 5, 1).batch(0)
    assert batch.image.shape == image
    assert batch.labels.shape == targets
    assert batch.labels.dtype == (np.int16 if np.dtype(dtype).kind == "i" else np.float32)


def digits(tmp_path: Path, pickled: bool = False) -> Path:
    random = np.random.default_rng(0)
    pairs = [(random.random((n, 784), dtype=np.float32), random.integers(0, 10, n)) for n in (50, 20, 30)]
    if pickled:
        path = tmp_path / "mnist.pkl.gz"
        path.write_bytes(gzip.compress(pickle.dumps(tuple(pairs), 2)))
        return path
    path = tmp_path / "mnist.npz"
    arrays = {}
    for source, (images, labels) in zip(("train", "valid", "test"), pairs):
        arrays[f"{source}_images"] = (images * 255).astype(np.uint8).reshape(-1, 28, 28)
        arrays[f"{source}_labels"] = labels.astype(np.uint8)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("pickled", [False, True])
def test_M071_four_cuts_of_each_training_image_and_one_of_the_others(tmp_path: Path, pickled: bool) -> None:
    data = MNISTData(str(digits(tmp_path, pickled)))
    assert [data.count(source) for source in ("train", "valid", "test")] == [200, 20, 30]
    assert data.getbatch(200)[0].shape == (200, 1, 26, 26)
    assert data.getbatch(20, "valid")[0].shape == (20, 1, 26, 26)
    flat = MNISTData(str(digits(tmp_path, pickled)), convert2image=False, shift_augment=False)
    assert flat.getbatch(7)[0].shape == (7, 784)
    assert flat.example_shape == (784,)


def test_each_digit_comes_once_per_epoch(tmp_path: Path) -> None:
    data = MNISTData(str(digits(tmp_path)), shift_augment=False)
    seen = [data.getbatch(10, step=step, seed=3) for step in range(10)]
    for epoch in (seen[:5], seen[5:]):
        keys = {image.tobytes() for images, _ in epoch for image in images}
        assert len(keys) == 50
    assert seen[0][0].tobytes() != seen[5][0].tobytes()


def test_the_mean_of_the_training_images_is_taken_from_all(tmp_path: Path) -> None:
    data = MNISTData(str(digits(tmp_path)), shift_augment=False)
    plain = MNISTData(str(digits(tmp_path)), shift_augment=False, center=False)
    shift = plain.getbatch(20, "valid")[0] - data.getbatch(20, "valid")[0]
    np.testing.assert_allclose(shift, plain.images["train"].mean(), rtol=1e-5)


def test_only_training_images_are_warped(tmp_path: Path) -> None:
    plain, warped = (MNISTData(str(digits(tmp_path)), warp_on=on) for on in (False, True))
    assert plain.getbatch(9)[0].tobytes() != warped.getbatch(9)[0].tobytes()
    assert plain.getbatch(9, "valid")[0].tobytes() == warped.getbatch(9, "valid")[0].tobytes()
    assert warped.getbatch(9, step=2)[0].tobytes() == warped.getbatch(9, step=2)[0].tobytes()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2, 3])])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pkl"):
        MNISTData(str(tmp_path / "a.pkl"))


def test_missing_digits_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; put the digits there"):
        MNISTData(str(tmp_path / "none.npz"))
