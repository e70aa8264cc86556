"""OME-NGFF stores: the metadata with which a viewer lays a volume on its image, and writing shard by shard."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise, product
from typing import Any

from numpy.typing import NDArray


class Shardwise:
    """A zarr array that is written one shard after the other.

    The library writes several at once and does not wait for the others when one fails: on a full disk they would
    make files in a store that has just been removed.
    """

    def __init__(self, array: Any) -> None:
        self.array = array

    def __setitem__(self, index: tuple[slice, ...], values: NDArray[Any]) -> None:
        spans = [part.indices(n)[:2] for part, n in zip(index, self.array.shape)]
        edges = [[a, *range((a // s + 1) * s, b, s), b] for (a, b), s in zip(spans, self.array.shards)]
        for box in product(*(pairwise(stops) for stops in edges)):
            part = tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(box, spans))
            self.array[tuple(slice(a, b) for a, b in box)] = values[part]


def ngff(said: Mapping[str, Any], key: str, ndim: int) -> dict[str, Any]:
    """OME-NGFF 0.5 multiscale metadata of one level.

    The translation is the physical position of the first voxel's centre: offset × voxel size, pixel-centre convention.
    """
    known = said.get("voxel_nm")
    voxel, offset = known or [1.0] * 3, said.get("offset_vox", [0, 0, 0])
    channel = [{"name": "c", "type": "channel"}] if ndim == 4 else []
    unit = {"unit": "nanometer"} if known else {}
    lead = [1.0] * len(channel)
    return {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [*channel, *({"name": a, "type": "space", **unit} for a in "zyx")],
                "datasets": [
                    {
                        "path": key,
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [*lead, *map(float, voxel)]},
                            {
                                "type": "translation",
                                "translation": [
                                    *([0.0] * len(lead)),
                                    *(float(o) * v for o, v in zip(offset, voxel)),
                                ],
                            },
                        ],
                    }
                ],
            }
        ],
    }
