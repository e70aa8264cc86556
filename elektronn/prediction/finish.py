"""The end of a prediction: its files and its certificate are checked, then it appears as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from elektronn.artefacts import digest, fingerprint, write_json
from elektronn.errors import DataError
from elektronn.prediction.certificate import Certificate, Witness, certify, complaint
from elektronn.prediction.claims import Claims
from elektronn.prediction.images import create_result
from elektronn.prediction.job import Job
from elektronn.prediction.plan import stamp
from elektronn.settings import plain


def finish(job: Job, claims: Claims) -> Certificate:
    """Turn what lies in the working folder into the output.

    Raises:
        CheckFailed: blocks are not what was written, or not what the network says; the same command does them again.
        DataError: the image is no longer what it was.
        StorageError: disk full or no permission.
    """
    sums = _check_files(job, claims)
    witness = Witness(job.trained.network, job.result)
    voxels = job.settings.certificate
    certificate, wrong = certify(job.plan, voxels, witness, job.image.read, job.work.read)
    if wrong:
        _forget(job, claims, [job.plan.names[index] for index in wrong], certificate.largest)
    address = job.image.volume.address
    if stamp(address) != job.stamp:
        raise DataError(f"{address}: was changed while it was predicted; leave it alone and predict once more")
    image = address.digest
    facts = {
        "fingerprint": job.fingerprint(image),
        "inputs": {"model": job.plan.facts["model"], "image": image},
        "settings": plain(job.settings),
        "engine": job.engine_note.read_text(encoding="utf-8"),
        "attributes": job.said,
        "certificate": certificate.plain,
        "missing_chunks": job.missing_chunks,
        "warnings": list(job.warnings),
    }
    _publish(job, facts, sums)
    return replace(certificate, missing_chunks=job.missing_chunks)


def _check_files(job: Job, claims: Claims) -> dict[str, str]:
    """Hold the files of the store against what was written."""
    sums, wrong = job.work.sums(), []
    for name in job.plan.all_names:
        said = claims.facts(name)
        is_ours = said.get("plan") == job.plan.fingerprint
        if not is_ours or any(sums.get(file) != found for file, found in said["files"].items()):
            wrong.append(name)
    if wrong:
        _forget(job, claims, wrong, float("inf"))
    return sums


def _forget(job: Job, claims: Claims, names: Sequence[str], largest: float) -> None:
    full = job.plan.names
    # what is coarser may have been made of what is wrong
    for name in {*names, *(set(job.plan.all_names) - set(full))}:
        claims.forget(name)
    raise complaint(
        largest,
        job.result.tolerance,
        f"{len(names)} blocks of {len(job.plan.all_names)} ({', '.join(names[:3])}) are computed again by the same command; "
        "if that fails too, report this as a defect",
    )


def _publish(job: Job, facts: Mapping[str, Any], sums: Mapping[str, str]) -> None:
    stored = {
        **{f"{name}_sha256": value for name, value in facts["inputs"].items()},
        "settings_sha256": fingerprint(job.plan.facts["settings"], []),
        **{f"certificate_{name}": value for name, value in facts["certificate"].items()},
    }
    work, out = job.work, job.work.out
    if out.format == "zarr":
        work.publish(job.manifest, facts, {**sums, **work.say(stored)})
        return
    said = {**job.place, "attributes": {**job.said, **stored}}
    with create_result(job.image, out, job.result.shape(job.plan.size), job.result.dtype, **said) as sink:
        for box in job.plan.boxes:
            sink.write(box, work.read(box))
    write_json(job.manifest, {"store": out.path.name, "sha256": digest(out.path), **facts})
    work.abandon()
