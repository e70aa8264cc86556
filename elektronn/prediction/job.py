"""All that one prediction needs, and what its output says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elektronn.artefacts import fingerprint
from elektronn.axes import Box, Size
from elektronn.geometry import Geometry
from elektronn.network.weights import Model
from elektronn.prediction.certificate import Certificate
from elektronn.prediction.images import Image
from elektronn.prediction.memory import Allowance
from elektronn.prediction.plan import Plan
from elektronn.prediction.result import Result
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.work import Work, made_before


@dataclass(frozen=True)
class Job:
    """One prediction.

    Attributes:
        trained: the model.
        image: open.
        result: what is stored of the outputs.
        plan: the blocks.
        work: the working folder.
        manifest: file to write at the end.
        settings: as given; ``device`` as chosen.
        stamp: of the files of the image when it was opened.
        allowance: of memory.
        missing_chunks: of the image, which count as its fill value.
        warnings: what is doubtful about the image.
    """

    trained: Model
    image: Image
    result: Result
    plan: Plan
    work: Work
    manifest: Path
    settings: PredictSettings
    device: torch.device
    stamp: str
    allowance: Allowance
    missing_chunks: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """Of the network."""
        return self.trained.network.geometry

    def around(self, box: Box) -> Box:
        """What of the image a box of the output is made from."""
        return box.grown((0, 0, 0), [f - 1 for f in self.geometry.field])

    @property
    def engine_note(self) -> Path:
        """File of the working folder that names the engine of all its blocks."""
        return self.work.folder / "engine"

    @property
    def said(self) -> dict[str, Any]:
        """What the output says about itself."""
        return {
            **self.result.said,
            "image_size": list(self.image.volume.size),
            "field": list(self.geometry.field),
            "model_fingerprint": self.trained.card["fingerprint"],
            **({"padded": True} if self.settings.pad_raw else {}),
        }

    @property
    def place(self) -> dict[str, Any]:
        """Where the output lies in the image and in space, and what it says about itself."""
        volume = self.image.volume
        offset = Size(*(a - b for a, b in zip(self.geometry.offset, self.image.before)))
        found: dict[str, Any] = {"voxel_nm": volume.voxel_nm, "offset_vox": offset, "attributes": self.said}
        if volume.voxel_nm and (volume.origin_nm or any(volume.part.start)):
            # viewers open the file as a whole, and where it does not say where it lies they begin at 0
            origin = volume.origin_nm or [n * v for n, v in zip(volume.part.start, volume.voxel_nm)]
            found["origin_nm"] = tuple(o + n * v for o, n, v in zip(origin, offset, volume.voxel_nm))
        return found

    def fingerprint(self, image: str) -> str:
        """What makes the output, with the sha256 of the image instead of the times of its files."""
        facts = self.plan.facts
        return fingerprint(facts["settings"], [facts["model"], image, facts["image"], facts["voxel_nm"]], facts["code"])

    def made_before(self) -> Certificate | None:
        """The certificate of the output if it is there and made of the same."""
        found = made_before(self.work.out, self.manifest)
        # the image is the last to be compared: it may take long to read
        if found is None or found.get("inputs", {}).get("model") != self.plan.facts["model"]:
            return None
        if found.get("fingerprint") != self.fingerprint(self.image.volume.address.digest):
            return None
        said = found["certificate"]
        return Certificate(
            said["voxels"],
            said["largest_difference"],
            said["tolerance"],
            self.result.kind,
            is_new=False,
            missing_chunks=found.get("missing_chunks", 0),
        )
