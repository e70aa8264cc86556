"""The predict stage: a model and an image volume in, an OME-NGFF volume of probabilities (or values) and its manifest out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.artefacts import digest, fingerprint, prepare, write_json
from elektronn.axes import Box, Size
from elektronn.errors import CheckFailed, ConfigError, DataError, ElektronnError, at
from elektronn.geometry import Geometry
from elektronn.network.document import require_dense
from elektronn.network.weights import Model, load_model
from elektronn.prediction.certificate import Certificate, Witness, certify, complaint, places_in, share
from elektronn.prediction.claims import Claims, wait_a_little
from elektronn.prediction.dense import Engine
from elektronn.prediction.images import Image, create_result, open_image
from elektronn.prediction.pipeline import Line, Waits
from elektronn.prediction.plan import Plan, stamp
from elektronn.prediction.result import Result
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.work import Work, made_before
from elektronn.settings import plain
from elektronn.volumes.address import Address

Progress = Callable[[int, int], None]
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
    progress: Progress = lambda done, total: None,
    say: Say = lambda text: None,
) -> Certificate:
    """Predict a whole volume, block by block; memory is bounded by the settings, not by the volume.

    Two classes give one ``zyx`` volume, the probability of the boundary, unless the settings ask for all; more give
    ``czyx``, all classes, and so does a model whose outputs are values. The output begins at voxel ``offset_vox`` of
    the image and carries voxel size and translation, so that it overlays the image in a viewer. A flat ``.npy`` image
    (yx or cyx) gives an ``.npy`` of the same axes; see :func:`elektronn.prediction.images.open_image`.

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
    if out.path.resolve() == image.path.resolve():
        raise ConfigError(f"{out}: would replace the image it is made from; name another output file")
    prepare(manifest)
    trained = load_model(model)
    with at(str(model)):
        require_dense(trained.network.document)
    torch.set_num_threads(settings.threads)
    document, takes_any = trained.network.document, trained.takes_any_floats
    with open_image(image, document, any_floats=takes_any, voxel_nm=voxel_nm, model=str(model)) as source:
        with at(str(image)):
            size = trained.network.geometry.dense(source.volume.size)
        facts = {"model": digest(model), "image": f"{image.key}{image.crop}{image.axes}", "input": stamp(image)}
        plan = Plan.of(document, trained.network.geometry, size, settings, facts)
        job = Job(trained, source, Result.of(trained, settings), plan, Work(out), manifest, settings, device)
        job.work.settle(manifest)
        found = job.made_before()
        if found is None:
            return job.run(progress, say)
    say(f"{out}: is there already, made by the same model, image and settings; nothing to do")
    return found


@dataclass(frozen=True)
class Block:
    """A block on its way: its number, box, and values: first of the image, then of the output."""

    index: int
    box: Box
    values: NDArray[Any]


@dataclass(frozen=True)
class Job:
    """All that one prediction needs.

    Attributes:
        trained: the model.
        image: open.
        result: what is stored of the outputs.
        plan: the blocks.
        work: the working folder.
        manifest: file to write at the end.
        settings: as given; ``device`` as chosen.
    """

    trained: Model
    image: Image
    result: Result
    plan: Plan
    work: Work
    manifest: Path
    settings: PredictSettings
    device: torch.device

    @property
    def geometry(self) -> Geometry:
        """Of the network."""
        return self.trained.network.geometry

    @property
    def said(self) -> dict[str, Any]:
        """What the output says about itself."""
        return {
            **self.result.said,
            "image_size": list(self.image.volume.size),
            "field": list(self.geometry.field),
            "model_fingerprint": self.trained.card["fingerprint"],
        }

    @property
    def place(self) -> dict[str, Any]:
        """Where the output lies in the image and in space."""
        volume, offset = self.image.volume, self.geometry.offset
        found: dict[str, Any] = {"voxel_nm": volume.voxel_nm, "offset_vox": offset, "attributes": self.said}
        if volume.voxel_nm and volume.origin_nm:
            found["origin_nm"] = tuple(o + n * v for o, n, v in zip(volume.origin_nm, offset, volume.voxel_nm))
        return found

    def made_before(self) -> Certificate | None:
        """The certificate of the output if it is there and made of the same; no working folder is left then."""
        found = made_before(self.work.out, self.manifest)
        inputs = found and found.get("inputs")
        if not inputs or inputs.get("model") != self.plan.facts["model"] or found is None:
            return None
        if found.get("fingerprint") != self._fingerprint(self.image.volume.address.digest):
            return None
        self.work.abandon()
        said = found["certificate"]
        return Certificate(said["voxels"], said["largest_difference"], said["tolerance"], self.result.kind)

    def _fingerprint(self, image: str) -> str:
        """What made the output, whatever the time stamps of the files."""
        facts = self.plan.facts
        return fingerprint(facts["settings"], [facts["model"], image, facts["image"]], facts["code"])

    def run(self, progress: Progress, say: Say) -> Certificate:
        """Compute what is not there yet, alone or with others, and finish."""
        try:
            self.work.begin(self.plan, self.result.shape(self.plan.size), self.result.dtype, **self.place)
            with Claims(self.work.blocks) as claims:
                return self._share(claims, progress, say)
        except ConfigError:
            raise
        except BaseException as error:
            if self.work.is_empty:
                self.work.abandon()
            elif isinstance(error, ElektronnError) and not isinstance(error, CheckFailed):
                error.args = (f"{error}; what is finished stays in {self.work.folder}, and the same command goes on",)
            raise

    def _share(self, claims: Claims, progress: Progress, say: Say) -> Certificate:
        blocks = Blocks(self, claims, progress)
        waits = Waits()
        while True:
            waits += blocks.run()
            if claims.take(END):
                if len(claims.done()) == len(self.plan.boxes):
                    certificate = self._finish(claims)
                    say(f"{self.work.out}: {waits}")
                    return certificate
                claims.release(END)
            elif not self.work.blocks.exists():
                break
            wait_a_little()
        certificate_of_others = self.made_before()
        if certificate_of_others is None:
            raise DataError(
                f"{self.work.out}: another process was to finish it and did not; run the same command again"
            )
        return certificate_of_others

    def _finish(self, claims: Claims) -> Certificate:
        sums = self._check_files(claims)
        witness = Witness(self.trained.network, self.result)
        certificate, wrong = certify(self.plan, self.settings.certificate, witness, self.image.read, self.work.read)
        if wrong:
            self._forget(claims, wrong, certificate.largest)
        address = self.image.volume.address
        if stamp(address) != self.plan.facts["input"]:
            raise DataError(f"{address}: was changed while it was predicted; remove {self.work.folder} to begin anew")
        image = address.digest
        facts = {
            "fingerprint": self._fingerprint(image),
            "inputs": {"model": self.plan.facts["model"], "image": image},
            "settings": plain(self.settings),
            "attributes": self.said,
            "certificate": certificate.plain,
        }
        self._publish(facts, sums)
        return certificate

    def _publish(self, facts: Mapping[str, Any], sums: Mapping[str, str]) -> None:
        stored = {
            **{f"{name}_sha256": value for name, value in facts["inputs"].items()},
            "settings_sha256": fingerprint(facts["settings"], []),
            **{f"certificate_{name}": value for name, value in facts["certificate"].items()},
        }
        out = self.work.out
        if out.format == "zarr":
            self.work.publish(self.manifest, facts, {**sums, **self.work.say(stored)})
            return
        shape = self.result.shape(self.plan.size)
        said = {**self.place, "attributes": {**self.said, **stored}}
        with create_result(self.image, out, shape, self.result.dtype, **said) as sink:
            for box in self.plan.boxes:
                sink.write(box, self.work.read(box))
        write_json(self.manifest, {"store": out.path.name, "sha256": digest(out.path), **facts})
        self.work.abandon()

    def _check_files(self, claims: Claims) -> dict[str, str]:
        """Hold the files of the store against what was written; a block whose files are others is done again."""
        sums = self.work.sums()
        wrong = [
            index
            for index in range(len(self.plan.boxes))
            for said in [claims.facts(name_of(index))]
            if said.get("plan") != self.plan.fingerprint
            or any(sums.get(name) != value for name, value in said["files"].items())
        ]
        if wrong:
            self._forget(claims, wrong, float("inf"))
        return sums

    def _forget(self, claims: Claims, wrong: list[int], largest: float) -> None:
        for index in wrong:
            claims.forget(name_of(index))
        some = ", ".join(str(tuple(self.plan.boxes[index].start)) for index in wrong[:3])
        raise complaint(
            largest,
            self.result.tolerance,
            f"{len(wrong)} of {len(self.plan.boxes)} blocks (from zyx {some}) will be computed again by the same command; "
            "if that fails too, report this as a defect",
        )


def name_of(index: int) -> str:
    """Name of a block among the claims."""
    return f"{index:07d}"


class Blocks:
    """The blocks of a job on their way through reader, engine and writer."""

    def __init__(self, job: Job, claims: Claims, progress: Progress) -> None:
        self.job, self.claims, self.progress = job, claims, progress
        self.boxes = job.plan.boxes
        self.engine = Engine(job.trained.network, job.device, job.result.kind)
        self.witness = Witness(job.trained.network, job.result)
        self.done, self.total = 0, sum(len(job.plan.tiles(box)) for box in self.boxes)

    def run(self) -> Waits:
        """Do all that nobody else does, and wait for the others."""
        done = self.claims.done()
        self.done = sum(len(self.job.plan.tiles(box)) for i, box in enumerate(self.boxes) if name_of(i) in done)
        return Line(self._read, self._compute, self._write).run()

    def _read(self, stop: threading.Event) -> Iterator[Block]:
        for name in self.claims.each([name_of(index) for index in range(len(self.boxes))], stop):
            box = self.boxes[int(name)]
            yield Block(int(name), box, self.job.image.read(self._around(box)))

    def _around(self, box: Box) -> Box:
        """What of the image a box of the output is made from."""
        return box.grown((0, 0, 0), [f - 1 for f in self.job.geometry.field])

    def _compute(self, block: Block) -> Block:
        values = np.empty(self.job.result.shape(block.box.size), self.job.result.dtype)
        for tile in self.job.plan.tiles(block.box):
            part = np.ascontiguousarray(block.values[(slice(None), *self._around(tile).slices)])
            values[(..., *tile.slices)] = self.job.result.stored(self.engine.block(part))
            self.done += 1
            self.progress(min(self.done, self.total), self.total)
        self._look(block, values)
        return Block(block.index, block.box, values)

    def _look(self, block: Block, values: NDArray[Any]) -> None:
        """Compare voxels with brute force at once, so that a defect shows at the first block and not after days."""
        size = Size(*values.shape[-3:])
        for place in places_in(block.box, share(self.job.plan, self.job.settings.certificate)):
            inside = Size(*(p - a for p, a in zip(place, block.box.start)))
            assert all(i < n for i, n in zip(inside, size))
            patch = block.values[(slice(None), *self.witness.patch(inside).slices)]
            difference = self.witness.difference(patch, values[(..., *inside)])
            if difference > self.job.result.tolerance:
                raise complaint(
                    difference, self.job.result.tolerance, "the prediction was not kept: report this as a defect"
                )

    def _write(self, block: Block) -> None:
        name = name_of(block.index)
        if self.claims.holds(name):  # else somebody has taken it over, believing us dead
            files = self.job.work.write(block.box, block.values)
            self.claims.finish(name, {"plan": self.job.plan.fingerprint, "files": files})
