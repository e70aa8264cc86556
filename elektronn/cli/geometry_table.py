"""The geometry of an experiment's network as a person wants to read it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from elektronn.axes import Size
from elektronn.config.tree import Experiment
from elektronn.geometry import Stack
from elektronn.network.chain import chain
from elektronn.network.document import ConvLayer, geometry, layers, table

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


def print_geometry(name: str, experiment: Experiment, console: Console) -> None:
    """Print layers, chosen input size and why, field of view, offset, cost and memory of one training patch."""
    document = chain(experiment.network)
    reach, rows = geometry(document), [row for row in layers(document) if isinstance(row, ConvLayer)]
    patch = reach.input_at_most(experiment.network.patch)
    shown = Table(*COLUMNS, title=f"{name}: input {patch} (zyx)", title_justify="left")
    stacks = [Stack(tuple(r.kernel[a] for r in rows), tuple(r.pool[a] for r in rows)) for a in range(3)]
    reaches = [stack.reaches() for stack in stacks]
    for i, row in enumerate(table(document, patch)):
        field, stride = (Size(*(getattr(axis[i], what) for axis in reaches)) for what in ("field", "stride"))
        cells = [row["layer"], row["kernel"], row["pool"], row["features"], row["activation"], row["size"]]
        shown.add_row(*map(str, cells), str(field), str(stride), f"{row['parameters']:,}", f"{row['multiply_adds']:,}")
    console.print(shown)
    total = table(document, patch)
    outputs = reach.outputs(patch)
    for letter, stack, wanted in zip("zyx", stacks, experiment.network.patch):
        size, reason = stack.choose(wanted)
        if reason:
            console.print(
                f"along {letter}: {wanted} wanted, {size} taken ({reason}; {size + stack.reach.stride} would be next)"
            )
    console.print(
        f"field of view {reach.field}, offset {reach.offset}, stride {reach.stride}; {outputs} = {outputs.voxels} outputs"
    )
    console.print(
        f"{sum(r['parameters'] for r in total):,} parameters, {sum(r['multiply_adds'] for r in total):,} multiply-adds, "
        f"about {_activations(rows, patch) / 1e6:.0f} MB of activations for one patch in training"
    )


def _activations(rows: list[ConvLayer], patch: Size) -> int:
    """Bytes of all activations that one patch leaves for the backward pass: before and after each pooling, float32."""
    size, voxels = patch, 0
    for row in rows:
        size = Size(*(n - k + 1 for n, k in zip(size, row.kernel)))
        voxels += row.maps * size.voxels
        size = Size(*(n // p for n, p in zip(size, row.pool)))
        voxels += row.features * size.voxels
    return 4 * voxels
