"""Settings of the prediction room."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.settings import Field, NotNegative, Positive, Settings

EngineName = Literal["auto", "portable", "lanes"]
Precision = Literal["float32", "tf32", "bf16", "fp16"]


class PredictSettings(Settings):
    """How volumes are predicted."""

    output: Literal["uint8", "float16", "float32"] = "uint8"
    """Type of the stored probabilities; uint8 holds round(p·255). Values of a regression are always float32."""
    classes: Literal["boundary", "all"] | tuple[NotNegative, ...] = "boundary"
    """Of two classes: the ``boundary`` alone, or ``all``. Of other numbers of classes all are written anyway, unless a
    list says which, such as [1, 2]; a list of one gives a volume without an axis of classes."""
    pad_raw: bool = False
    """Continue the image by its mirror image on all sides, so that the output is as large as the image; else it ends where
    the field of view does."""
    missing_chunks: Literal["refuse", "fill"] = "refuse"
    """Chunks that are not in a zarr or HDF5 image: a copy that broke off (``refuse``), or parts that are empty and count as
    the fill value (``fill``)."""
    memory_gb: Annotated[float, Field(gt=0)] = 2.0
    """Memory that the command takes at most, GB, all included; larger tiles compute less twice. On a GPU, and called from
    Python: what one tile may take."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    engine: EngineName = "auto"
    """``portable`` for every network and device; ``lanes`` on CPUs with AVX-512 for chains of convolutions, several times
    faster; ``auto``: the faster one, found out on a tile. Results differ by less than 1e-5."""
    precision: Precision = "float32"
    """Arithmetic of the convolutions. ``bf16`` is faster on CPUs with instructions for it, and off by up to about 0.01;
    ``tf32`` and ``fp16`` are for GPUs. By how much is said before and after; recomputed voxels may differ accordingly more."""
    threads: Positive = 2
    """CPU threads of the arithmetic."""
    certificate: NotNegative = 64
    """Random voxels, at least, that are computed again by brute force in float64; 0 for none."""
    pyramid: Annotated[int, Field(ge=0, le=12)] = 0
    """Coarser levels beside the full one (zarr only): means of 2×2×2 voxels, or of 2×2 while sections are far apart."""
