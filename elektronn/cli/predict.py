"""``elektronn predict``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elektronn.cli.options import length, params_of, settings_arguments, volume
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError, at

if TYPE_CHECKING:
    import torch

    from elektronn.config.tree import Params
    from elektronn.prediction.batch import Outcome
    from elektronn.prediction.certificate import Certificate
    from elektronn.volumes.table import Row


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("image", type=volume, nargs="?", metavar="IMAGE", help="image volume")
    verb.add_argument(
        "target",
        type=volume,
        nargs="?",
        metavar="OUT",
        help="prediction to make (.zarr: OME-NGFF 0.5; .zarr@ngff0.4, .h5, .npy); unfinished, it lies in OUT.part",
    )
    verb.add_argument("--model", type=Path, required=True, metavar="FILE", help="model file of a training")
    verb.add_argument("--manifest", type=Path, metavar="FILE", help="manifest (JSON); default: OUT.json")
    verb.add_argument(
        "--voxel-nm", type=length, nargs=3, metavar=("Z", "Y", "X"), help="voxel size where the image does not say it"
    )
    verb.add_argument(
        "--volumes",
        nargs="?",
        const="",
        metavar="TABLE",
        help="instead of IMAGE: all volumes of role predict of this table; without TABLE, of `volumes` in the settings",
    )
    verb.add_argument(
        "--out", type=Path, metavar="FOLDER", help="with --volumes: gets NAME.zarr of each, and summary.tsv"
    )
    verb.add_argument(
        "--strided",
        action="store_true",
        help="plain network output of a batch: IMAGE and OUT are .npy files, batch first",
    )
    verb.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="with --strided: batch (.npy) for a further input of a network of several; may be repeated",
    )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Predict."""
    from elektronn.network.device import choose_device
    from elektronn.prediction.allocator import keep_memory

    _check(given)
    params, display = params_of(given), Display("predict", given.log)
    with at("predict"):
        device = choose_device(params.predict.device)
    if device.type == "cpu" and given.owns_process:
        keep_memory()
    if given.strided:
        from elektronn.prediction.strided import predict_strided

        more = _named(given.input)
        shape = predict_strided(given.model, given.image.path, given.target.path, device, more)
        display.line(f"{given.target}: output {'×'.join(map(str, shape))} of {given.image}")
    elif given.volumes is not None:
        _all(given, params, device, display)
    else:
        _one(given, params, device, display)


def _check(given: argparse.Namespace) -> None:
    """Refuse arguments that do not go together."""
    if given.input and not given.strided:
        raise ConfigError("--input: only with --strided; a network of several inputs has no dense prediction")
    if given.volumes is None:
        if given.image is None or given.target is None:
            raise ConfigError("name IMAGE and OUT, or a table with --volumes TABLE --out FOLDER")
        if given.out:
            raise ConfigError("--out: only with --volumes; the output of one volume is the second argument")
    elif given.image or given.manifest or given.voxel_nm or given.strided or not given.out:
        raise ConfigError("--volumes: wants --out FOLDER, and neither IMAGE, --manifest, --voxel-nm nor --strided")


def _one(given: argparse.Namespace, params: Params, device: torch.device, display: Display) -> None:
    from elektronn.prediction.stage import predict

    manifest = given.manifest or given.target.path.with_name(given.target.path.name + ".json")
    with display.bar():
        certificate = predict(
            given.model,
            given.image,
            given.target,
            manifest,
            params.predict,
            device=device,
            voxel_nm=tuple(given.voxel_nm) if given.voxel_nm else None,
            owns_process=given.owns_process,
            progress=display.advance,
            say=display.line,
        )
    display.line(
        f"{given.target}: {certificate.kind} of {given.image}; {certificate.voxels} random voxels recomputed by brute force "
        f"differ by at most {certificate.largest:.1e} (allowed {certificate.tolerance:.1e})"
    )


def _all(given: argparse.Namespace, params: Params, device: torch.device, display: Display) -> None:
    """Every volume of role ``predict``."""
    from elektronn.prediction.batch import complain, predict_all, write_summary
    from elektronn.prediction.stage import predict
    from elektronn.volumes.address import parse_address
    from elektronn.volumes.table import data_root, rows_of

    def one(row: Row, out: Path) -> Certificate:
        return predict(
            given.model,
            row.image,
            parse_address(str(out)),
            out.with_name(out.name + ".json"),
            params.predict,
            device=device,
            voxel_nm=row.voxel_nm,
            owns_process=given.owns_process,
            progress=lambda done, total: display.advance(done, total, row.name),
            say=display.line,
        )

    def tell(outcome: Outcome) -> None:
        if outcome.error:
            display.warn(f"{outcome.name}: {outcome.reason}")

    rows = rows_of(given.volumes or params.volumes, data_root(params.data_root))
    summary = given.out / "summary.tsv"
    with display.bar():
        outcomes = predict_all(rows, given.out, one, tell)
    write_summary(summary, outcomes)
    _show(outcomes)
    complain(outcomes, summary)


def _show(outcomes: list[Outcome]) -> None:
    """Print the summary as a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table("name", "status", "seconds", "largest difference", "reason")
    for outcome in outcomes:
        name, _, _, status, seconds, _, largest, _, reason = outcome.cells
        shown.add_row(name, status, seconds, largest, reason)
    Console().print(shown)


def _named(texts: list[str]) -> dict[str, Path]:
    """``NAME=FILE`` arguments."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, file) in zip(texts, pairs):
        if not name or not file:
            raise ConfigError(f"--input {text}: write NAME=FILE")
    return {name: Path(file) for name, _, file in pairs}
