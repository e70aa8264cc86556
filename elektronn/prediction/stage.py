"""The predict stage: a model and an image volume in, an OME-NGFF volume of probabilities (or values) and its manifest out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from elektronn.artefacts import digest, prepare
from elektronn.errors import CheckFailed, ConfigError, DataError, ElektronnError, at
from elektronn.network.document import require_dense
from elektronn.network.weights import load_model
from elektronn.prediction.blocks import Blocks, Progress
from elektronn.prediction.certificate import Certificate
from elektronn.prediction.claims import Claims, wait_a_little
from elektronn.prediction.finish import finish
from elektronn.prediction.gaps import gaps
from elektronn.prediction.images import open_image
from elektronn.prediction.job import Job
from elektronn.prediction.memory import allowance_for
from elektronn.prediction.outlook import Outlook
from elektronn.prediction.pipeline import Waits
from elektronn.prediction.plan import Plan, stamp
from elektronn.prediction.precision import require_precision
from elektronn.prediction.pyramid import levels_for
from elektronn.prediction.result import Result
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.sources import renew
from elektronn.prediction.work import Work
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import check_target
from elektronn.volumes.faintness import brightest, faintness

Say = Callable[[str], None]

END = "end"
"""Claim of the one who finishes the output."""


def predict(
    model: Path,
    image: Address,
    out: Address,
    manifest: Path,
    settings: PredictSettings,
    *,
    device: torch.device,
    voxel_nm: tuple[float, float, float] | None = None,
    owns_process: bool = False,
    progress: Progress = lambda done, total: None,
    say: Say = lambda text: None,
) -> Certificate:
    """Predict a whole volume, block by block; memory is bounded by the settings, not by the volume.

    Two classes give one ``zyx`` volume, the probability of the boundary, unless the settings ask for all; more give
    ``czyx``, all classes, and so does a model whose outputs are values. The output begins at voxel ``offset_vox`` of
    the image and carries voxel size and translation, so that it overlays the image in a viewer. A flat ``.npy`` image
    (yx or cyx) gives an ``.npy`` of the same axes; see :func:`elektronn.prediction.images.open_image`.

    Args:
        model: model file.
        image: volume to predict.
        out: where the output goes.
        manifest: file that says what made it.
        settings: of the section ``predict``.
        device: where to compute.
        voxel_nm: voxel size where the image does not say it.
        owns_process: whether this process does nothing else; then ``predict.memory_gb`` holds for all of it, else for
            one tile.
        progress: called with (tiles done, tiles in all).
        say: called with lines for people.

    Finished blocks lie in ``OUT.part`` until all are there (see :mod:`elektronn.prediction.work`): the same call goes
    on where another was killed, and any number of processes, on any machines that see the folder, may make the same
    call at the same time. HDF5 and ``.npy`` outputs are written from that folder at the end, by one of them. An output
    that is there already, made of the same by the same, is left as it is.

    Raises:
        DataError: unreadable model or image; NaN; floats outside [0, 1] unless the model takes them. What was finished
            before is kept.
        GeometryError: image smaller than the field of view; a network without dense prediction.
        ConfigError: ``out`` is the image; ``OUT.part`` holds work on something else.
        StorageError: disk full or no permission; what was finished before is kept.
        CheckFailed: the certificate does not hold; there is no output.
    """
    check_target(out)
    require_precision(settings.precision, settings.engine, device)
    if settings.pyramid and out.format != "zarr":
        raise ConfigError(f"{out}: has no coarser levels; set predict.pyramid to 0, or name an output ending .zarr")
    if out.path.resolve() == image.path.resolve():
        raise ConfigError(f"{out}: would replace the image it is made from; name another output file")
    prepare(manifest)
    trained = load_model(model)
    with at(str(model)):
        require_dense(trained.network.document)
    torch.set_num_threads(settings.threads)
    document, takes_any = trained.network.document, trained.takes_any_floats
    with open_image(image, document, any_floats=takes_any, voxel_nm=voxel_nm, model=str(model)) as opened:
        geometry = trained.network.geometry
        source = opened.padded(geometry) if settings.pad_raw else opened
        with at(str(image)):
            size = geometry.dense(source.size)
        facts = {"model": digest(model), "image": f"{image.key}{image.crop}{image.axes}"}
        facts["voxel_nm"] = str(opened.volume.voxel_nm and tuple(map(float, opened.volume.voxel_nm)))
        result = Result.of(trained, settings)
        own, in_shards = device if owns_process else None, out.layout != "ngff0.4"
        allowance = allowance_for(trained.network, source, result, size, settings, own, in_shards=in_shards)
        plan = Plan.of(document, geometry, size, settings, facts, allowance.room_for(document, geometry, size))
        levels = levels_for(size, source.volume.voxel_nm, settings.pyramid, out.key or "0")
        plan = replace(plan, levels=tuple(levels))
        job = Job(trained, source, result, plan, Work(out), manifest, settings, device, stamp(image), allowance)
        job.work.settle(manifest)
        found = job.made_before()
        if found is None:
            return _run(_looked_at(job, say), progress, say)
        job.work.abandon()
    say(f"{out}: is there already, made by the same model, image and settings; nothing to do")
    return found


def _looked_at(job: Job, say: Say) -> Job:
    """The job of an image of which all is there, or may be missing."""
    found = gaps(job.image.volume)
    if job.settings.missing_chunks == "refuse":
        found.refuse()
    warnings = tuple(filter(None, (_faint(job), found.sentence)))
    for text in warnings:
        say(f"warning: {job.image.volume.address}: {text}")
    return replace(job, missing_chunks=found.missing, warnings=warnings)


def _faint(job: Job) -> str:
    """What to warn of if an image is nearly black for a network that does not scale it itself."""
    volume, kinds = job.image.volume, [node.kind for node in job.trained.network.document.nodes]
    with suppress(DataError):  # what is damaged is told where it is needed
        return "" if "standardise" in kinds else faintness(volume.dtype, brightest(volume))
    return ""


def _run(job: Job, progress: Progress, say: Say) -> Certificate:
    """Compute what is not there yet, alone or with others, and finish."""
    is_ours = False
    try:
        plan = job.work.begin(job.plan, job.result.shape(job.plan.size), job.result.dtype, **job.place)
        is_ours = True
        job.allowance.check(job.trained.network.document, job.geometry, plan.tile)
        job = replace(job, plan=plan)
        with Claims(job.work.blocks) as claims:
            return _share(job, claims, progress, say)
    except BaseException as error:
        is_setting = isinstance(error, ConfigError)
        if is_setting and not is_ours:  # what lies there is work on something else
            raise
        if job.work.is_empty:
            job.work.abandon()
        elif isinstance(error, ElektronnError | KeyboardInterrupt) and not (
            is_setting or isinstance(error, CheckFailed)
        ):
            said = f"{error}; " if str(error) else ""
            error.args = (f"{said}what is finished stays in {job.work.folder}, and the same command goes on",)
        raise


def _share(job: Job, claims: Claims, progress: Progress, say: Say) -> Certificate:
    outlook = Outlook(job, claims.done(), say)
    outlook.forecast.check(job)
    blocks = Blocks(job, claims, progress, outlook)
    waits = Waits()
    while job.work.blocks.exists():
        renew(job, claims, say)
        waits += blocks.run()
        if claims.take(END):
            renew(job, claims, say)
            if claims.done() >= set(job.plan.all_names):
                certificate = finish(job, claims)
                say(f"{job.work.out}: {waits}")
                return certificate
            claims.release(END)
        wait_a_little()
    found = job.made_before()
    if found is None:
        raise DataError(f"{job.work.out}: another process was to finish it and did not; run the same command again")
    return found
