"""Looking at a run: which volumes, where each lies, what viewers are given, what is drawn."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import types
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from matplotlib.backend_bases import KeyEvent, MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.cli import view_run
from elektronn.cli.main import main
from elektronn.errors import ConfigError, DataError
from elektronn.viewing import sections as drawing
from elektronn.viewing import web
from elektronn.viewing.lazy import Lazy, lazy, opened
from elektronn.viewing.napari import options_of
from elektronn.viewing.run import Run, run_of, sources_of
from elektronn.viewing.scene import Layer, Scene, Source, kind_held, scene_of
from elektronn.viewing.scroller import Board, Scroller, _rows_and_columns, _window
from elektronn.viewing.sections import Sections
from elektronn.viewing.web import served, state_of
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import Volume, create_volume

SIZE, OFFSET, LABELS_AT = Size(8, 20, 24), Size(1, 3, 5), Size(2, 4, 6)
CODES = np.arange(SIZE.voxels, dtype=np.uint16).reshape(SIZE)
"""Each voxel's value says where it is in the image."""
VOXEL = (30.0, 6.0, 7.0)


def inner(at: Size) -> NDArray[Any]:
    """The middle of the codes, as large as a volume concentric with the image that begins there."""
    return CODES[at.z : SIZE.z - at.z, at.y : SIZE.y - at.y, at.x : SIZE.x - at.x]


def store(path: Path, values: NDArray[Any], **said: Any) -> Address:
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_volume(parse_address(str(path)), values.shape, values.dtype, **said) as sink:
        sink.write(Box(Size(0, 0, 0), Size(*values.shape[-3:])), values)
    return parse_address(str(path))


def placed(**more: Any) -> dict[str, Any]:
    return {"offset_vox": OFFSET, "voxel_nm": VOXEL, "attributes": {"image_size": list(SIZE), **more}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose run ``net`` has predicted volume ``a``; every volume holds the codes of the image."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    store(data / "raw/a.h5", CODES)
    store(data / "raw/a_ids.h5", inner(LABELS_AT).astype(np.uint32))
    store(data / "interim/labels/a.h5", (inner(LABELS_AT) % 3 - 1).astype(np.int8))
    store(data / "predictions/net/a.zarr", inner(OFFSET), **placed(kind="probabilities"))
    store(data / "segmentations/net/a.zarr", inner(OFFSET).astype(np.uint32), **placed(kind="segmentation"))
    card = {name: {"address": f"data/raw/a{end}.h5"} for name, end in (("image", ""), ("labels", "_ids"))}
    (data / "interim/volumes").mkdir()
    (data / "interim/volumes/a.json").write_text(json.dumps({"role": "test", "voxel_nm": None, **card}))
    return tmp_path


def scene_here(run: str = "net") -> Scene:
    found = run_of(run)
    assert isinstance(found, Run)
    return scene_of("a", sources_of(found, {})["a"])


def seen(scene: Scene, order: str = "zyx") -> dict[str, NDArray[Any]]:
    with opened(scene.layers, order) as volumes:
        return {layer.name: volume[...] for layer, volume in zip(scene.layers, volumes)}


def test_all_volumes_of_a_run_are_found_from_any_of_its_names(project: Path) -> None:
    kinds = ["image", "labels", "boundaries", "prediction", "segmentation"]
    for folder in ("models", "state", "reports"):
        (project / "data" / folder / "net").mkdir(parents=True)
    (project / "data/models/net/state").mkdir()
    (project / "data/reports/net/index.html").touch()
    names = ["net", *(f"data/{folder}/net" for folder in ("models", "state", "reports", "predictions"))]
    names += ["data/models/net/state", "data/reports/net/index.html", f"{project}/data/state/net/"]
    names += ["data/predictions/net/a.zarr", "data/predictions/net/a.zarr/"]
    for name in names:
        assert [layer.kind for layer in scene_here(name).layers] == kinds, name
    assert run_of("data/predictions/net/a.zarr") == Run(project / "data", "net", "a")
    assert run_of("data/raw/a.h5") == Address(Path("data/raw/a.h5"))


def test_what_is_no_run_is_said_with_the_nearest_name(project: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"nett: no run of this name \(looked in data/.*net.*or give one of its folders"
    ):
        run_of("nett")
    with pytest.raises(ConfigError, match=r"missing\.zarr: no such file"):
        run_of("missing.zarr")
    (project / "data/models/new").mkdir(parents=True)
    with pytest.raises(DataError, match="experiment new has no volumes to show yet; train and predict first"):
        sources_of(Run(project / "data", "new"), {})
    (project / "data/interim/volumes/a.json").write_text("{}")
    with pytest.raises(DataError, match=r"a\.json: is no card of `elektronn volume`"):
        scene_here()


def test_volumes_of_the_training_are_found_too_those_to_test_on_come_first(project: Path) -> None:
    (project / "data/models/net").mkdir(parents=True)
    (project / "data/models/net/model.json").write_text(json.dumps({"data": {"b": {}, "a": {}}}))
    card = {"role": "train", "voxel_nm": [4, 5, 6], "image": {"address": "data/raw/a.h5"}}
    (project / "data/interim/volumes/b.json").write_text(json.dumps(card))
    found = sources_of(Run(project / "data", "net"), {})
    assert list(found) == ["a", "b"]
    assert scene_of("b", found["b"]).voxel_nm == (4, 5, 6)


@pytest.mark.parametrize("order", ["zyx", "xyz"])
def test_every_layer_lies_where_it_was_in_the_image(project: Path, order: str) -> None:
    """The place in the state, applied to the voxels that the viewer gets, leads to the voxel of the same code."""
    scene = scene_here()
    layers = {layer["name"]: layer for layer in state_of(scene)["layers"]}
    for name, values in seen(scene, order).items():
        place = np.array(layers[name]["source"]["transform"]["matrix"])
        assert np.array_equal(place[:, :3], np.eye(3))
        x, y, z = place[:, 3].astype(int)
        zyx = values if order == "zyx" else values.transpose()
        codes = CODES[z : z + zyx.shape[0], y : y + zyx.shape[1], x : x + zyx.shape[2]]
        assert np.array_equal(zyx, codes % 3 - 1.0 if name == "boundaries" else codes), name
    assert [layers[name]["source"]["transform"]["matrix"][2][3] for name in layers] == [0, 2, 2, 1, 1]


def test_the_state_says_names_kinds_colours_and_the_size_of_a_voxel(project: Path) -> None:
    state = state_of(scene_here())
    assert state["dimensions"] == {"x": [7e-9, "m"], "y": [6e-9, "m"], "z": [3e-8, "m"]}
    assert state["position"] == [12.5, 10.5, 4.5]
    kinds = {layer["name"]: (layer["type"], layer["visible"]) for layer in state["layers"]}
    assert kinds == {
        "image": ("image", True),
        "labels": ("segmentation", False),
        "boundaries": ("image", False),
        "prediction": ("image", True),
        "segmentation": ("segmentation", False),
    }
    image, _, _, prediction, _ = state["layers"]
    low, high = image["shaderControls"]["normalized"]["range"]
    assert CODES[4].min() <= low < high <= CODES[4].max()
    assert "emitRGBA(vec4(colour, probability()))" in prediction["shader"]
    assert prediction["shaderControls"] == {"probability": {"range": [0, 65535]}}
    json.dumps(state)


def test_a_part_of_an_image_is_a_frame_of_its_own(project: Path) -> None:
    part = Source("image", parse_address("data/raw/a.h5[2:8,4:20,6:24]"))
    labels = Source("labels", store(project / "l.h5", CODES[3:7, 6:18, 9:21]))
    start = scene_of("a", [part, labels]).layers[1].start
    assert start == (1, 2, 3)
    cut = Source("prediction", parse_address("data/predictions/net/a.zarr[1:,2:,3:]"))
    assert scene_of("a", [cut]).layers[0].start == (2, 5, 8)
    assert scene_of("a", [cut]).size == SIZE


def test_what_does_not_fit_is_left_out_and_said(project: Path) -> None:
    image = Source("image", Address(Path("data/raw/a.h5")), VOXEL)
    odd = Source("labels", store(project / "odd.h5", CODES[1:]))
    coarse = Source("segmentation", store(project / "coarse.h5", CODES, voxel_nm=(30, 12, 14)))
    other = Source(
        "prediction", store(project / "o.h5", CODES, offset_vox=OFFSET, attributes={"image_size": [9, 9, 9]})
    )
    floats = Source("boundaries", store(project / "f.h5", CODES.astype(np.float32)))
    scene = scene_of("a", [image, odd, coarse, other, floats])
    assert [layer.name for layer in scene.layers] == ["image"]
    for text in (
        "surplus along z is odd",
        "has voxels of 30 × 12 × 14 nm",
        "an image of 9×9×9 voxels",
        "not whole numbers",
    ):
        assert sum(text in note for note in scene.notes) == 1, text
    with pytest.raises(DataError, match=r"a: nothing to show\n.*not whole numbers"):
        scene_of("a", [floats])


def test_channels_and_classes_become_layers(project: Path) -> None:
    both = np.stack([CODES, CODES[::-1]])
    image = Source("image", store(project / "two.h5", both))
    classes = store(project / "c.h5", np.stack([CODES * 0, CODES, CODES // 2]), attributes={"kind": "probabilities"})
    scene = scene_of("a", [image, Source("prediction", classes)])
    shown = [(layer.name, layer.is_shown) for layer in scene.layers]
    expected = [("image 0", True), ("image 1", False), ("prediction class 1", True), ("prediction class 2", False)]
    assert shown == expected
    values = seen(scene)
    assert np.array_equal(values["image 1"], CODES[::-1])
    assert np.array_equal(values["prediction class 2"], CODES // 2)
    assert "nobody says how large a voxel is" in scene.notes[0]
    assert state_of(scene)["dimensions"]["x"] == [1, ""]


def write_zarr(path: Path, values: NDArray[Any]) -> Address:
    return store(path.with_suffix(".zarr"), values)


def write_hdf5(path: Path, values: NDArray[Any]) -> Address:
    return store(path.with_suffix(".h5"), values)


def write_npy(path: Path, values: NDArray[Any]) -> Address:
    return store(path.with_suffix(".npy"), values)


def write_tiff(path: Path, values: NDArray[Any]) -> Address:
    tifffile.imwrite(path.with_suffix(".tif"), values, photometric="minisblack", metadata={"axes": "ZYX"})
    return Address(path.with_suffix(".tif"))


@pytest.mark.parametrize("write", [write_zarr, write_hdf5, write_npy, write_tiff])
@pytest.mark.parametrize("order", ["zyx", "xyz"])
def test_only_what_is_asked_for_is_read_from_any_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, NDArray[Any]], Address], order: str
) -> None:
    address = write(tmp_path / "v", CODES)
    truth = CODES.transpose(["zyx".index(letter) for letter in order])
    boxes: list[Box] = []
    read = Volume.read

    def watched(volume: Volume, box: Box | None = None, order: str = "zyx") -> NDArray[Any]:
        assert box is not None
        boxes.append(box)
        return read(volume, box, order)

    scene = scene_of("v", [Source("image", address)])
    monkeypatch.setattr(Volume, "read", watched)
    with opened(scene.layers, order) as (values,):
        assert (values.shape, values.ndim, values.size, len(values)) == (truth.shape, 3, truth.size, len(truth))
        for index in (np.s_[2], np.s_[-1, 3], np.s_[1:3, 2:7, ::5], np.s_[..., 4], np.s_[2:2], np.s_[:, 1::3, 5:6]):
            found = values[index]
            assert found.dtype == truth.dtype
            assert np.array_equal(found, truth[index]), index
        assert max(box.size.voxels for box in boxes) <= SIZE.voxels // 2
        assert np.array_equal(np.asarray(values), truth)
        assert np.array_equal(values.transpose(), truth.transpose())


@pytest.mark.parametrize(
    ("given", "kind", "shown"),
    [
        (np.float16, "image", np.float32),
        (np.float64, "prediction", np.float32),
        (np.int64, "image", np.float32),
        (np.int8, "boundaries", np.int8),
        (bool, "image", np.uint8),
        (np.uint16, "labels", np.uint32),
        (np.int16, "labels", np.uint64),
        (np.uint64, "segmentation", np.uint64),
    ],
)
def test_values_are_given_in_types_that_viewers_know(tmp_path: Path, given: Any, kind: Any, shown: Any) -> None:
    values = np.array([0, 1, 1, 0, 1, 0, 0, 1], given).reshape(2, 2, 2)
    if np.dtype(given).kind == "i":
        values[0, 0, 0] = -1
    scene = scene_of("v", [Source(kind, write_npy(tmp_path / "v", values))])
    found = seen(scene)[kind]
    assert found.dtype == shown
    assert np.array_equal(found, np.maximum(values, 0) if np.dtype(shown).kind == "u" else values)


def test_a_loose_volume_is_known_by_its_words_or_its_type(project: Path) -> None:
    assert kind_held(Address(Path("data/predictions/net/a.zarr"))) == "prediction"
    assert kind_held(Address(Path("data/segmentations/net/a.zarr"))) == "segmentation"
    assert kind_held(Address(Path("data/raw/a.h5"))) == "image"
    assert kind_held(Address(Path("data/raw/a_ids.h5"))) == "segmentation"


def test_several_threads_may_read_one_volume(tmp_path: Path) -> None:
    address = write_hdf5(tmp_path / "v", CODES)
    wrong: list[int] = []
    with opened(scene_of("v", [Source("image", address)]).layers) as (values,):

        def work(z: int) -> None:
            wrong.extend(z for _ in range(20) if not np.array_equal(values[z], CODES[z]))

        threads = [threading.Thread(target=work, args=(z,)) for z in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def fetched(url: str) -> bytes:
    content: bytes = urllib.request.urlopen(url, timeout=20).read()
    return content


def test_neuroglancer_gets_page_facts_and_exact_voxels(project: Path) -> None:
    scene = scene_here()
    with served([scene, scene]) as (url, other):
        assert url != other
        assert url.startswith("http://127.0.0.1:")
        assert b"<title>Neuroglancer</title>" in fetched(url)
        base, key = url.split("/v/")
        viewer = web._library().server.global_server.viewers[key.strip("/")]
        layers = viewer.state.to_json()["layers"]
        assert [layer["name"] for layer in layers] == [layer.name for layer in scene.layers]
        token = layers[3]["source"]["url"].removeprefix("python://volume/")
        facts = json.loads(fetched(f"{base}/neuroglancer/info/{token}"))
        assert facts["shape"] == [14, 14, 6]
        assert facts["dataType"] == "uint16"
        chunk = fetched(f"{base}/neuroglancer/npz/{token}/1,1,1/2,3,1/9,7,4")
        values = np.load(io.BytesIO(zlib.decompress(chunk)))
        assert np.array_equal(values, inner(OFFSET)[1:4, 3:7, 2:9].transpose())
    with pytest.raises(urllib.error.URLError):
        fetched(url)


def answer(url: str) -> int:
    """The code of a refusal."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetched(url)
    refused.value.close()
    return refused.value.code


def test_failures_of_the_server_reach_the_browser_as_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MESH_VOXELS", 100)
    with served([scene_here()]) as (url,):
        base, key = url.split("/v/")
        viewer = web._library().server.global_server.viewers[key.strip("/")]
        urls = [layer["source"]["url"] for layer in viewer.state.to_json()["layers"]]
        tokens = [url.removeprefix("python://volume/") for url in urls]
        assert answer(f"{base}/neuroglancer/mesh/{tokens[4]}/1") == 405
        monkeypatch.setattr(Volume, "read", lambda *_: (_ for _ in ()).throw(DataError("cut off")))
        assert answer(f"{base}/neuroglancer/npz/{tokens[0]}/1,1,1/0,0,0/2,2,2") == 400


def test_a_taken_port_is_named(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                ConfigError, match=f"port {port} at 127.0.0.1: .* in use; choose others with --port and --host"
            ),
            served([scene_here()], port=port),
        ):
            pass


def test_sections_show_each_layer_at_its_place(project: Path) -> None:
    scene = scene_here()
    with opened(scene.layers) as volumes:
        sections = Sections(scene, volumes)
        image, labels, walls, prediction, ids = (sections.alone(number, 4) for number in range(5))
        assert image.shape == (20, 24, 3)
        assert (image[..., 0] == image[..., 2]).all()
        assert np.array_equal(
            (labels != 40).any(-1).nonzero(), (CODES[4] > 0)[4:16, 6:18].nonzero() + np.array([[4], [6]])
        )
        orange = (walls == (255, 127, 14)).all(-1)
        assert np.array_equal(orange[4:16, 6:18], (inner(LABELS_AT)[2] % 3 == 2))
        assert orange.sum() == orange[4:16, 6:18].sum()
        assert prediction[3, 5, 0] == round(int(CODES[4, 3, 5]) / 65535 * 255)
        assert len({tuple(colour) for colour in ids[3:17, 5:19].reshape(-1, 3)}) > 100
        both, alone = sections.together([0, 3], 4), sections.together([0], 4)
        assert np.array_equal(alone, image)
        assert np.array_equal(both[:3], image[:3])
        assert (both[5:8, 6:9] != image[5:8, 6:9]).any()
        assert (sections.alone(3, 0) == 40).all()


def test_large_sections_are_drawn_from_every_nth_voxel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_here()
    with opened(scene.layers) as volumes:
        full = Sections(scene, volumes)
        whole = [full.alone(number, 4) for number in range(5)]
        monkeypatch.setattr(drawing, "PIXELS", 8)
        monkeypatch.setattr(drawing, "_BAND", 7)
        coarse = Sections(scene, volumes)
        assert coarse.step == 3
        for number in range(5):
            assert np.array_equal(coarse.alone(number, 4), whole[number][::3, ::3])


def test_the_command_prints_states_programs_and_pictures(project: Path, capsys: Any) -> None:
    assert main(["view", "net", "--print"]) == 0
    assert json.loads(capsys.readouterr().out) == {"a": state_of(scene_here())}
    # options may stand before RUN as well
    assert main(["view", "--print", "data/predictions/net/a.zarr"]) == 0
    assert len(json.loads(capsys.readouterr().out)["a"]["layers"]) == 5
    assert main(["view", "data/raw/a.h5", "--layer", "segmentation", "data/raw/a_ids.h5", "--print"]) == 0
    assert [layer["name"] for layer in json.loads(capsys.readouterr().out)["a"]["layers"]] == ["image", "segmentation"]
    assert main(["view", "net", "--save", "out/s.png", "--section", "3,5"]) == 0
    assert "out/s.png: volume a, z = 3, 5: image, labels, boundaries, prediction, seg" in capsys.readouterr().err
    assert imread("out/s.png").shape[1] == 6 * 440


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: no run of this name"),
        (["net", "--volume", "b"], "--volume b: not one of this run: known are a"),
        (
            ["net", "--layer", "segments", "data/raw/a.h5"],
            "'segments' is no kind of layer: did you mean 'segmentation'",
        ),
        (["net", "--save", "s.png", "--section", "8"], "section 8: the volume has the sections 0 to 7"),
        (["net", "--scroll"], "there is no display to open a window on; add --save FILE.png"),
    ],
)
def test_the_command_says_what_is_wrong(project: Path, capsys: Any, words: list[str], said: str) -> None:
    assert main(["view", *words]) == 2
    assert said in capsys.readouterr().err


def test_without_neuroglancer_the_command_offers_the_sections(project: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    assert main(["view", "net"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'elektronn[view]'" in said
    assert "--scroll" in said


def test_the_server_stays_until_ctrl_c(project: Path, capsys: Any, monkeypatch: Any) -> None:
    class Pressed:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(view_run, "threading", types.SimpleNamespace(Event=Pressed))
    monkeypatch.setenv("SSH_CONNECTION", "somewhere")
    assert main(["view", "net"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("a: http://127.0.0.1:")
    assert "ssh -L " in said.err
    assert said.err.endswith("ended\n")


class FakeNapari(types.ModuleType):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__("napari")
        self.layers: list[tuple[str, Lazy, dict[str, Any]]] = []
        self.ran = 0

    def Viewer(self, title: str, axis_labels: tuple[str, ...]) -> FakeNapari:
        assert (title, axis_labels) == ("a", ("z", "y", "x"))
        return self

    def add_image(self, values: Lazy, **options: Any) -> None:
        self.layers.append(("image", values, options))

    def add_labels(self, values: Lazy, **options: Any) -> None:
        self.layers.append(("labels", values, options))

    def run(self) -> None:
        self.ran += 1


def test_napari_is_run_where_it_is_and_its_program_printed_where_not(
    project: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "napari", None)
    assert main(["view", "net", "--napari"]) == 0
    said = capsys.readouterr()
    assert "napari is not installed here; the program above" in said.err
    for start in (lambda: main(["view", "net", "--napari"]), lambda: exec(said.out, {})):
        fake = FakeNapari()
        monkeypatch.setitem(sys.modules, "napari", fake)
        start()
        assert fake.ran == 1
        assert [kind for kind, *_ in fake.layers] == ["image", "labels", "image", "image", "labels"]
        for _, values, options in fake.layers:
            z, y, x = (round(nm / voxel) for nm, voxel in zip(options["translate"], VOXEL))
            codes = CODES[z : z + values.shape[0], y : y + values.shape[1], x : x + values.shape[2]]
            assert (options["scale"], options["units"]) == (VOXEL, ("nm", "nm", "nm"))
            assert np.array_equal(values[...], codes % 3 - 1.0 if options["name"] == "boundaries" else codes)


def test_where_napari_cannot_open_a_window_it_is_said_why(project: Path, capsys: Any, monkeypatch: Any) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "napari", FakeNapari())
    assert main(["view", "net", "--napari"]) == 0
    said = capsys.readouterr()
    assert "there is no display here; the program above" in said.err
    assert said.out.endswith("napari.run()\n")
    monkeypatch.setenv("DISPLAY", ":0")

    def without_qt() -> None:
        raise ImportError("No Qt bindings could be found")

    monkeypatch.setattr(sys.modules["napari"], "run", without_qt)
    assert main(["view", "net", "--napari"]) == 0
    assert "napari has no Qt here (`pip install 'napari[pyqt6]'`); the program above" in capsys.readouterr().err


def test_all_viewers_draw_in_the_same_colours(project: Path) -> None:
    colours = {kind: "#" + bytes(rgb).hex() for kind, rgb in drawing._COLOURS.items()}
    assert colours == {layer.kind: options_of(layer, scene_here())["colormap"] for layer in scene_here().layers[2:4]}
    for kind, colour in colours.items():
        assert f'default="{colour}"' in web._LOOK[kind][0]


class Window:
    """A window without a screen: matplotlib's own events, sent to a canvas that draws into memory."""

    def __init__(self, sections: Sections, start: int) -> None:
        self.canvas = FigureCanvasAgg(Figure(figsize=(9, 6)))
        self.board = Board(sections)
        panels, depth = self.board.panels, sections.scene.size.z
        self.scroller = Scroller(self.canvas.figure, panels, depth, start, self.board.toggle)
        self.canvas.draw()

    def press(self, key: str) -> None:
        KeyEvent("key_press_event", self.canvas, key)._process()

    def turn(self, step: int) -> None:
        MouseEvent("scroll_event", self.canvas, 100, 100, step=step)._process()

    def picture(self, panel: int) -> NDArray[Any]:
        return np.asarray(self.scroller.axes[panel].images[0].get_array())


def test_wheel_and_keys_of_a_window_move_all_panels_and_numbers_change_the_overlay(project: Path) -> None:
    scene = scene_here()
    with opened(scene.layers) as volumes:
        sections = Sections(scene, volumes)
        window = Window(sections, 4)
        moves: list[tuple[Callable[[Any], None], Any, int]] = [(window.turn, 1, 5), (window.turn, -1, 4)]
        moves += [(window.press, key, z) for key, z in (("up", 5), ("left", 4), ("end", 7), ("pagedown", 0))]
        for move, word, z in moves:
            move(word)
            assert window.scroller.index == z, word
            for number in range(5):
                assert np.array_equal(window.picture(number), sections.alone(number, z)), word
            assert np.array_equal(window.picture(5), sections.together([0, 3], z)), word
        window.press("up")
        for key, shown in (("5", [0, 3, 4]), ("1", [3, 4]), ("9", [3, 4]), ("5", [3])):
            window.press(key)
            assert np.array_equal(window.picture(5), sections.together(shown, 1)), key


def test_pointing_at_a_voxel_tells_its_place_and_its_values(project: Path) -> None:
    scene = scene_here()
    with opened(scene.layers) as volumes:
        window = Window(Sections(scene, volumes), 4)
        image, labels, *_, overlay = window.scroller.axes
        assert image.format_coord(7.4, 4.6) == f"z 4, y 5, x 7, image {CODES[4, 5, 7]}"
        assert labels.format_coord(0, 0) == "z 4, y 0, x 0"
        window.press("up")
        window.press("4")
        window.press("5")
        code = CODES[5, 9, 8]
        assert overlay.format_coord(8.0, 9.0) == f"z 5, y 9, x 8, image {code}, segmentation {code}"
        assert overlay.format_coord(-3.0, 9.0) == "z 5, y 9, x -3"
        assert image.images[0].format_cursor_data(np.zeros(3)) == ""


@pytest.mark.parametrize(("count", "high"), [(1, 1.0), (3, 0.2), (6, 1.0), (6, 4.0), (12, 1.0)])
def test_a_window_fits_a_small_screen_and_leaves_no_panel_squashed(count: int, high: float) -> None:
    width, height = _window(count, high)
    rows, columns = _rows_and_columns(count)
    assert 0 < width <= 12.001
    assert 0 < height <= 6.601
    edge = width / columns
    assert edge * high == pytest.approx(height / rows - 0.5)


def test_a_window_that_cannot_be_opened_is_no_crash(project: Path, capsys: Any, monkeypatch: Any) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("Invalid DISPLAY variable")

    monkeypatch.setattr("matplotlib.pyplot.get_backend", lambda: "qtagg")
    monkeypatch.setattr("matplotlib.pyplot.figure", fails)
    assert main(["view", "net", "--scroll"]) == 2
    said = "there is no display to open a window on; add --save FILE.png to draw sections into a file (Invalid DISPLAY"
    assert said in capsys.readouterr().err


def test_volumes_of_role_predict_are_told_by_the_table(project: Path, capsys: Any) -> None:
    (project / "data/interim/volumes/a.json").unlink()
    assert main(["view", "net", "--print"]) == 0
    assert len(json.loads(capsys.readouterr().out)["a"]["layers"]) == 3
    table = "name\timage\tlabels\taxes\tvoxel_nm\trole\na\tdata/raw/a.h5\t\tzyx\t30,6,7\tpredict\n"
    (project / "data/volumes.tsv").write_text(table)
    (project / "params.yaml").write_text("volumes: data/volumes.tsv\n")
    assert main(["view", "net", "--print"]) == 0
    assert json.loads(capsys.readouterr().out)["a"]["layers"][0]["name"] == "image"


def test_a_layer_of_a_closed_scene_is_read_again(project: Path) -> None:
    layer: Layer = scene_here().layers[0]
    assert np.array_equal(lazy(str(layer.source.address))[3], CODES[3])
