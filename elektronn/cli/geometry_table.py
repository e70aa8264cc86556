"""The geometry of an experiment's network as a person wants to read it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from elektronn.axes import Size
from elektronn.geometry import Stack
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import Document, geometry, layers, reaches, table
from elektronn.network.nodes import ConvLayer, Layer

COLUMNS = (
    "layer",
    "kernel",
    "pool",
    "features",
    "activation",
    "size",
    "field",
    "stride",
    "parameters",
    "multiply-adds",
)


def wide(*, stderr: bool = False) -> Console:
    """A console on which the table is not cut: a cut table is worse than a long line."""
    return Console(highlight=False, stderr=stderr, width=max(Console(stderr=stderr).width, 120))


def print_geometry(name: str, settings: NetworkSettings, console: Console, document: Document | None = None) -> None:
    """Print layers, chosen input size and why, field of view, offset, cost and memory of one training patch.

    Args:
        name: of the experiment.
        settings: of its network.
        console: where to.
        document: of the network where the data are known; else it is taken to have one channel.
    """
    document = document or chain(settings)
    reach = geometry(document)
    patch = reach.input_at_most(settings.patch)
    rows = table(document, patch)
    console.print(_table(f"{name}: input {patch} (zyx)", document, rows))
    _print_choice(settings, console)
    if settings.features:
        outputs = reach.outputs(patch) if settings.is_dense else Size(1, 1, 1)
        console.print(
            f"field of view {reach.field}, offset {reach.offset}, stride {reach.stride}; {outputs} = {outputs.voxels} "
            f"output{'s' if outputs.voxels > 1 else ''}"
        )
    console.print(
        f"{sum(r['parameters'] for r in rows):,} parameters, {sum(r['multiply_adds'] for r in rows):,} multiply-adds, "
        f"about {_activations(document, patch) / 1e6:.1f} MB of activations for one patch in training"
    )


def _table(title: str, document: Document, rows: list[dict[str, object]]) -> Table:
    shown = Table(*COLUMNS, title=title, title_justify="left")
    seen = reaches(document)
    for row, layer in zip(rows, layers(document)):
        cells = [row["layer"], row["kernel"], row["pool"], row["features"], row["activation"], row["size"]]
        reach = None if layer.whole else seen[layer.name]
        cells += ["all", ""] if reach is None else [reach.field, reach.stride]
        shown.add_row(*map(str, cells), f"{row['parameters']:,}", f"{row['multiply_adds']:,}")
    return shown


def _print_choice(settings: NetworkSettings, console: Console) -> None:
    """Say where the input is not what was wanted, and why."""
    for axis, letter in enumerate("zyx" if settings.features else ""):
        stack = Stack(tuple(k[axis] for k in settings.kernels), tuple(p[axis] for p in settings.pools))
        wanted = settings.patch[axis]
        size, reason = stack.choose(wanted)
        if reason:
            console.print(
                f"along {letter}: {wanted} wanted, {size} taken ({reason}; {size + stack.reach.stride} would be next)"
            )


def _activations(document: Document, patch: Size) -> int:
    """Bytes of all activations that one patch leaves for the backward pass: before and after each pooling, float32."""
    sizes, numbers = {document.nodes[0].name: patch}, 0
    for node, layer in zip(document.nodes[1:], layers(document)):
        before = sizes[node.parents[0]]
        after = sizes[node.name] = layer.size(*(sizes[parent] for parent in node.parents))
        numbers += _unpooled(layer, before) + layer.features * after.voxels
    return 4 * numbers


def _unpooled(layer: Layer, before: Size) -> int:
    """Numbers between a convolution and its pooling."""
    if not isinstance(layer, ConvLayer):
        return 0
    return layer.maps * Size(*(n - k + 1 for n, k in zip(before, layer.kernel))).voxels
