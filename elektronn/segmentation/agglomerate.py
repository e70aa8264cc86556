"""Merge the segments of a watershed where little boundary lies between them.

Of all segments that touch, the two with the least mean probability on their contact are merged first; what both
touched is one contact then, with the mean over all of its area. This goes on while the least mean is below the threshold.

Source: hierarchical clustering with average linkage, as in A. Bailoni et al., GASP, a generalized framework for
agglomerative clustering of signed graphs, CVPR (2022); by the library bioimage-cpp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import ConfigError
from elektronn.segmentation.contacts import Contacts
from elektronn.segmentation.settings import AgglomerateSettings

LIBRARY = "bioimage-cpp"
"""Name of the distribution; the extra ``agglomerate`` installs it."""


def require_library() -> None:
    """Say what is missing before the work, not after.

    Raises:
        ConfigError: bioimage-cpp is not installed.
    """
    try:
        import bioimage_cpp.graph  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"segment.agglomerate: needs the library {LIBRARY} ({error}); run `pip install 'elektronn[agglomerate]'`, "
            "or leave segment.agglomerate out"
        ) from error


def agglomerate(
    found: Contacts, count: int, voxel: tuple[float, float, float], steps: int, settings: AgglomerateSettings
) -> NDArray[np.uint64]:
    """New id of each segment.

    Args:
        found: all contacts.
        count: number of segments; their ids are 1 to ``count``.
        voxel: size z, y, x; contacts count by their area.
        steps: whole number that is the probability 1.
        settings: the threshold.

    Returns:
        ``count + 1`` ids: of 0, which stays 0, and of each segment: 1, 2, … in the order of the smallest old ids.
    """
    from bioimage_cpp.graph import UndirectedGraph
    from bioimage_cpp.graph.agglomeration import GaspClusterPolicy

    if not len(found.pairs):
        return np.arange(count + 1, dtype=np.uint64)
    graph = UndirectedGraph.from_unique_edges(count, found.pairs - np.uint64(1))
    attraction = settings.threshold - found.means(voxel, steps)
    groups = GaspClusterPolicy(linkage="mean").optimize(graph, attraction, edge_sizes=found.areas(voxel))
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.uint64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return np.append(np.uint64(0), rank[group])
