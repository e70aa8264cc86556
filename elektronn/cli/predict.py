"""``elektronn predict``."""

from __future__ import annotations

import argparse
from pathlib import Path

from elektronn.cli.options import length, params_of, settings_arguments, volume
from elektronn.cli.progress import Display


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("image", type=volume, metavar="IMAGE", help="image volume")
    verb.add_argument("out", type=volume, metavar="OUT", help="probabilities to make (.zarr: OME-NGFF 0.5; .h5, .npy)")
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
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Predict."""
    from elektronn.errors import at
    from elektronn.network.device import choose_device
    from elektronn.prediction.stage import predict

    settings = params_of(given).predict
    with at("predict"):
        device = choose_device(settings.device)
    if given.strided:
        from elektronn.prediction.strided import predict_strided

        shape = predict_strided(given.model, given.image.path, given.out.path, device)
        Display("predict", given.log).line(f"{given.out}: output {'×'.join(map(str, shape))} of {given.image}")
        return
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
        )
    display.line(
        f"{given.out}: probabilities of {given.image}; {certificate.voxels} random voxels recomputed by brute force "
        f"differ by at most {certificate.largest:.1e} (allowed {certificate.tolerance:.1e})"
    )
