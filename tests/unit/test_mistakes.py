"""What a person new to the program does wrong: each is answered in a line that says what to do, with the right code."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.console import Console

from elektronn.axes import Size
from elektronn.cli.main import main
from elektronn.cli.progress import Display
from elektronn.config.load import resolve
from elektronn.errors import DataError
from elektronn.network.build import build
from elektronn.network.chain import chain
from elektronn.network.weights import save_model
from elektronn.prediction import stage
from elektronn.volumes.registration import centre

NETWORK = {"kernels": [[1, 3, 3]], "pools": [[1, 1, 1]], "features": [2], "patch": [1, 9, 9]}
TABLE = "name\timage\tlabels\taxes\tvoxel_nm\trole\na\ta.h5:raw\ta.h5:ids\tzyx\t20,10,10\ttrain\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and volumes of many kinds."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (4, 20, 24), dtype=np.uint8)
    with h5py.File("a.h5", "w") as file:
        file["raw"] = grey
        file["wide"] = grey.astype(np.uint16)
        file["colour"] = np.stack([grey] * 3, axis=-1)
        file["ids"] = np.repeat(np.arange(1, 5, dtype=np.uint32), 6)[None, None] * np.ones((4, 20, 1), np.uint32)
    for standardise in (False, True):
        settings = resolve({"experiments": {"a": {"network": NETWORK}}}).experiments["a"].network
        document = chain(settings, standard=((0.5,), (0.2,)) if standardise else None)
        save_model(
            tmp_path / f"models/{'even' if standardise else 'plain'}.safetensors",
            build(document, seed=0),
            {"fingerprint": "f"},
        )
    return tmp_path


def said(capsys: Any, words: list[str], code: int) -> str:
    """What a command says that ends with this code."""
    try:
        found = main(words)
    except SystemExit as left:
        found = int(str(left.code))
    out = capsys.readouterr()
    assert found == code, out.err
    assert "Traceback" not in out.err
    return str(out.err)


MODEL = ["predict", "--model", "models/plain.safetensors"]


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (["predct", "a"], 2, "elektronn: unknown verb 'predct': did you mean 'predict'? `elektronn --help`"),
        (
            ["predict", "--modle", "m.safetensors", "a.h5:raw", "o.h5"],
            2,
            "unknown option '--modle': did you mean '--mod",
        ),
        (["predict", "--sett=a", "a.h5:raw", "o.h5"], 2, "unknown option '--sett': did you mean '--set'?"),
        (["view", "a", "--savee", "x.png"], 2, "elektronn view: unknown option '--savee': did you mean '--save'?"),
        (
            ["view", "batch", "a", "x.png", "--stepp", "3"],
            2,
            "view batch: unknown option '--stepp': did you mean '--step'",
        ),
        ([*MODEL, "--params", "nope.yaml", "a.h5:raw", "o.h5"], 2, "nope.yaml: no such file; give a parameter file"),
        (["predict", "--model", "models", "a.h5:raw", "o.h5"], 4, "models: is a folder; name the model file in it"),
        ([*MODEL, "a.h5:colour", "o.h5"], 4, "if its channels come last, write a.h5:colour@zyxc"),
        (
            [*MODEL, "a.h5:colour@zyxc", "o.h5"],
            4,
            "has 3 channels, the model was made for 1 (models/plain.safetensors); choo",
        ),
        (["convert", "models/plain.safetensors", "n.safetensors"], 2, "is a model file of today already"),
        (["report", "neuro", "page.html"], 2, "nothing to report of neuro: name its files"),
        (["curves", "neuro"], 4, "neuro: no history.csv and no events.jsonl there; give an experiment"),
        (["view", "gone.zarr", "--print"], 2, "gone.zarr: no such file; check the path, or name an experiment"),
        (
            ["train", "net", "--model", "m.safetensors"],
            2,
            "experiment 'net': the settings have none; name a file that has",
        ),
        (["view", "a.h5:raw", "--port", "99999"], 2, "--port: '99999': write a whole number, 0 to 65535"),
        (["view", "a.h5:raw", "--save", "look.jpg"], 2, "look.jpg: the picture is a PNG; name a file that ends .png"),
        (["evaluate", "a.h5:raw", "--json", "m.json"], 2, "1 volume given; name PREDICTION and LABELS"),
        (["volume", "a", "a.json", "--image", "a.h5:raw", "--role", "tset"], 2, "--role: invalid choice: 'tset'"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(
    here: Path, capsys: Any, words: list[str], code: int, answer: str
) -> None:
    assert answer in said(capsys, words, code)


def test_options_may_still_be_shortened_and_stand_behind_an_equals_sign(here: Path, capsys: Any) -> None:
    assert "a.json" not in said(capsys, ["volume", "a", "a.json", "--imag=a.h5:raw"], 0)
    assert json.loads((here / "a.json").read_text())["role"] == "predict"


def test_the_versions_are_said(capsys: Any) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("elektronn ")


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        (None, "volumes.tsv: no such file; write the table of volumes"),
        (TABLE.replace("\t", "  "), "the first line is no row of tab-separated columns"),
        (TABLE.replace("\t", ","), "the first line is no row of tab-separated columns"),
        (TABLE, "experiments.net.volumes: 'b' is not in the table of volumes"),
        (TABLE + TABLE.splitlines()[1].replace("a", "b", 1).replace("train", "test"), ""),
    ],
)
def test_the_check_of_the_settings_reads_the_table_and_misses_no_volume(
    here: Path, capsys: Any, table: str | None, answer: str
) -> None:
    network = json.dumps(NETWORK)
    Path("params.yaml").write_text(
        f"volumes: volumes.tsv\nexperiments: {{net: {{volumes: [a, b], network: {network}}}}}\n"
    )
    if table is not None:
        Path("volumes.tsv").write_text(table)
    assert answer in said(capsys, ["config", "check"], 2 if answer else 0)


def test_an_image_that_a_network_would_see_black_is_warned_of(here: Path, capsys: Any) -> None:
    warning = "warning: a.h5:wide: values reach 255 of 65535, so a network sees all of it nearly black"
    for model, image, is_faint in (("plain", "wide", True), ("even", "wide", False), ("plain", "raw", False)):
        words = ["predict", "--model", f"models/{model}.safetensors", f"a.h5:{image}", f"{model}_{image}.h5"]
        assert (warning in said(capsys, words, 0)) == is_faint
        kept = json.loads(Path(f"{model}_{image}.h5.json").read_text())["warnings"]
        assert [f"warning: a.h5:{image}: {text}".startswith(warning) for text in kept] == [True] * is_faint
    assert warning in said(capsys, ["check", "a.h5:wide", "a.h5:ids"], 0)
    assert "nearly black" not in said(capsys, ["check", "a.h5:raw", "a.h5:ids"], 0)


def test_who_interrupts_a_prediction_is_told_that_it_can_go_on(here: Path, capsys: Any, monkeypatch: Any) -> None:
    words = [*MODEL, "a.h5:raw", "o.zarr"]
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        text = said(capsys, words, 130)
    assert "interrupted; what is finished stays in o.zarr.part, and the same command goes on" in text
    said(capsys, words, 0)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "load_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert "interrupted; nothing half-written was left" in said(capsys, words, 130)


def test_a_batch_that_is_no_npy_file_is_named(here: Path, capsys: Any) -> None:
    text = said(capsys, [*MODEL, "--strided", "a.h5:raw", "o.npy"], 4)
    assert "a.h5: a batch is an .npy file of numbers" in text


def test_a_batch_is_drawn_with_what_the_workflow_has_made(here: Path, capsys: Any) -> None:
    settings = f"network: {json.dumps(NETWORK)}, sampling: {{batch_size: 1, workers: 0}}"
    Path("params.yaml").write_text(f"volumes: volumes.tsv\nexperiments: {{net: {{{settings}}}}}\n")
    Path("volumes.tsv").write_text(TABLE)
    words = ["view", "batch", "net", "batch.png", "--examples", "1"]
    assert "nothing to train on; give at least one --train" in said(capsys, words, 2)
    said(capsys, ["boundaries", "a.h5:ids", "data/interim/labels/a.h5"], 0)
    assert "batch.png: 1 training examples of experiment net" in said(capsys, words, 0)


def test_boundaries_of_an_image_are_warned_of(here: Path, capsys: Any) -> None:
    image = said(capsys, ["boundaries", "a.h5:raw", "b.h5"], 0)
    assert "of the voxels are boundary: is a.h5:raw a volume of IDs, and not an image?" in image
    assert "warning" not in said(capsys, ["boundaries", "a.h5:ids", "c.h5"], 0)


def test_what_cannot_be_told_by_content_is_said_once(here: Path, capsys: Any) -> None:
    assert said(capsys, ["check", "a.h5:raw", "a.h5:ids"], 0).count("cannot tell by content") == 1


@pytest.mark.parametrize(
    ("label", "hint"), [((28, 40, 12), False), ((28, 40, 4), True), ((27, 40, 4), True), ((13, 40, 28), False)]
)
def test_labels_that_would_fit_in_the_reverse_order_of_axes_get_a_hint(label: tuple[int, int, int], hint: bool) -> None:
    image = Size(10, 40, 40) if label[0] % 2 == 0 else Size(10, 40, 41)
    try:
        text = centre(image, Size(*label)).warning
    except DataError as error:
        text = str(error)
    assert ("if one of them is stored as xyz, write @xyz behind it" in text) == hint


@pytest.mark.parametrize(("width", "has_bar"), [(80, False), (200, True)])
def test_a_row_of_progress_keeps_all_its_numbers(width: int, has_bar: bool) -> None:
    display = Display("train neuro")
    display.console = Console(width=width, force_terminal=True, record=True, file=io.StringIO())
    with display.bar():
        display.advance(1234, 6000, "loss 0.3730  40.7 it/s  data wait 12%")
        assert display._bar is not None
        display._bar.refresh()
    text = display.console.export_text()
    assert "1234/6000" in text
    assert "data wait 12%" in text
    assert "…" not in text
    assert ("━" in text) == has_bar
