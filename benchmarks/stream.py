"""What a prediction from store to store waits for: reading, computing and writing side by side.

Run with ``python benchmarks/stream.py [SECTIONS]``: neuro_3d on a volume of SECTIONS × 1024 × 1024 (default 128: 16 blocks)
from HDF5 (gzip) and from zarr, to sharded zarr and to HDF5. Prints the part of the time that the arithmetic waited for
its input and for its output; the first block cannot be read, the last not be written beside other work.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from elektronn.axes import blocks
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import stage
from elektronn.prediction.pipeline import Line, Waits
from elektronn.prediction.settings import PredictSettings
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume

PAIRS = ((".h5", ".zarr", "uint8"), (".zarr", ".zarr", "float32"), (".zarr", ".h5", "uint8"))


@contextmanager
def watched() -> Iterator[list[Waits]]:
    """The waits of all lines that run meanwhile."""
    found, run = list[Waits](), Line.run

    def noted(self: Line[object, object]) -> Waits:
        found.append(run(self))
        return found[-1]

    Line.run = noted  # type: ignore[method-assign, assignment]
    try:
        yield found
    finally:
        Line.run = run  # type: ignore[method-assign]


def main(sections: int = 128) -> None:
    """Print a table."""
    size = (sections, 1024, 1024)
    print("from → to, type: seconds, waiting for input, for output (goal 3 % each)")
    for source, out, output in PAIRS:
        with tempfile.TemporaryDirectory() as name, watched() as waits:
            folder = Path(name)
            save_model(folder / "m", build(chain(NetworkSettings()), seed=1), {"fingerprint": "f"})
            image = parse_address(f"{folder}/image{source}")
            with create_volume(image, size, np.uint8) as sink:
                for box in blocks(size, (32, 1024, 1024)):
                    sink.write(box, np.random.default_rng(box.start.z).integers(0, 256, box.size, np.uint8))
            settings = PredictSettings(output=output, threads=1)  # type: ignore[arg-type]
            target = parse_address(f"{folder}/out{out}")
            stage.predict(folder / "m", image, target, folder / "out.json", settings, device=torch.device("cpu"))
        total = sum(one.total_s for one in waits)
        shares = [100 * sum(getattr(one, name) for one in waits) / total for name in ("input_s", "output_s")]
        print(f"{source} → {out}, {output}: {total:.1f} s, {shares[0]:.2f} %, {shares[1]:.2f} %", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
