"""Numbers on their way to a GPU and back while it computes others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


class Side:
    """A queue of work beside the computation: a stream of a GPU; on a CPU all is done at once, and nobody waits.

    Args:
        device: of the work.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def work(self) -> AbstractContextManager[Any]:
        """What is begun in this block is done in this queue."""
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

    def follow(self, mark: Any) -> None:
        """Wait, in this queue, for a mark of another."""
        if self.stream:
            self.stream.wait_event(mark)

    def mark(self) -> Any:
        """A mark behind all that this queue has to do."""
        return self.stream.record_event() if self.stream else None

    def hold(self, values: Tensor) -> None:
        """Keep memory of another queue until this one is through with it."""
        if self.stream:
            values.record_stream(self.stream)


class Here(Side):
    """The queue of the computation itself."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.current_stream(device) if device.type == "cuda" else None


def overlapped(compute: Callable[[Tensor], Tensor], values: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """``compute`` of each of ``values``, in their order; both lie in the memory of the CPU.

    While the device computes one, the next is on its way there and the last one on its way back, from and to pinned
    memory, each in a queue of its own.

    Args:
        compute: of a tensor on the device; its result is not written again.
        values: are taken one ahead of what is computed.
        device: of the computation.
    """
    here, up, down = Here(device), Side(device), Side(device)
    sent: deque[tuple[Tensor, Any]] = deque()
    coming: deque[tuple[Tensor, Any]] = deque()

    def send(one: Tensor) -> None:
        pinned = one.pin_memory() if up.stream else one
        with up.work():
            there = pinned.to(device, non_blocking=True)
        here.hold(there)
        sent.append((there, up.mark()))

    def fetch(found: Tensor) -> None:
        down.follow(here.mark())
        with down.work():
            target = torch.empty(found.shape, dtype=found.dtype, pin_memory=bool(down.stream))
            target.copy_(found, non_blocking=True)
        down.hold(found)
        coming.append((target, down.mark()))

    def arrived() -> Tensor:
        target, mark = coming.popleft()
        if mark is not None:
            mark.synchronize()
        return target

    source = iter(values)
    for one in source:
        send(one)
        break
    while sent:
        there, mark = sent.popleft()
        here.follow(mark)
        found = compute(there)
        for one in source:
            send(one)
            break
        fetch(found)
        if len(coming) > 1:
            yield arrived()
    while coming:
        yield arrived()
