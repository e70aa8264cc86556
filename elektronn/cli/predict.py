"""``elektronn predict``."""

from __future__ import annotations

import argparse
from pathlib import Path

from elektronn.cli.options import length, params_of, settings_arguments, volume
from elektronn.cli.progress import Display


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("image", type=volume, metavar="IMAGE", help="image volume")
    verb.add_argument(
        "out", type=volume, metavar="OUT", help="prediction to make (.zarr: OME-NGFF 0.5, .zarr@ngff0.4; .h5, .npy)"
    )
    verb.add_argument("--model", type=Path, required=True, metavar="FILE", help="model file of a training")
    verb.add_argument("--manifest", type=Path, metavar="FILE", help="manifest (JSON); default: OUT.json")
    verb.add_argument(
        "--voxel-nm", type=length, nargs=3, metavar=("Z", "Y", "X"), help="voxel size where the image does not say it"
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
    from elektronn.errors import ConfigError, at
    from elektronn.network.device import choose_device
    from elektronn.prediction.stage import predict

    settings = params_of(given).predict
    with at("predict"):
        device = choose_device(settings.device)
    if given.strided:
        from elektronn.prediction.strided import predict_strided

        more = _named(given.input)
        shape = predict_strided(given.model, given.image.path, given.out.path, device, more)
        Display("predict", given.log).line(f"{given.out}: output {'×'.join(map(str, shape))} of {given.image}")
        return
    if given.input:
        raise ConfigError("--input: only with --strided; a network of several inputs has no dense prediction")
    manifest = given.manifest or given.out.path.with_name(given.out.path.name + ".json")
    display = Display("predict", given.log)
    with display.bar():
        certificate = predict(
            given.model,
            given.image,
            given.out,
            manifest,
            settings,
            device=device,
            voxel_nm=tuple(given.voxel_nm) if given.voxel_nm else None,
            progress=display.advance,
            say=display.line,
        )
    display.line(
        f"{given.out}: {certificate.kind} of {given.image}; {certificate.voxels} random voxels recomputed by brute force "
        f"differ by at most {certificate.largest:.1e} (allowed {certificate.tolerance:.1e})"
    )


def _named(texts: list[str]) -> dict[str, Path]:
    """``NAME=FILE`` arguments."""
    from elektronn.errors import ConfigError

    pairs = [text.partition("=") for text in texts]
    for text, (name, _, file) in zip(texts, pairs):
        if not name or not file:
            raise ConfigError(f"--input {text}: write NAME=FILE")
    return {name: Path(file) for name, _, file in pairs}
