"""Streaming ROC area + average precision against scikit-learn, in the same run: speed, memory, difference.

python benchmarks/roc.py [--scores 10000000] [--rounds 3] [--types uint8 uint16 float32]

Times are of the processor, one thread each: on a shared machine the clock says more about the others. In each round ours
runs five times (the median counts) and scikit-learn once; medians of the ratios of the rounds. With 10⁸ scores scikit-learn needs up to a
minute and several GB for each type.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from elektronn.evaluation.counters import Counter
from elektronn.evaluation.curves import average_precision, average_precision_error, roc_area, roc_area_error


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measured(work: Callable[[], tuple[float, float]]) -> tuple[float, float, tuple[float, float]]:
    """Seconds of this thread, MB above the start at the highest sample (every 2 ms), result."""
    done, start, peak = threading.Event(), resident_mb(), [resident_mb()]

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = time.thread_time()
    result = work()
    seconds = time.thread_time() - before
    done.set()
    watcher.join()
    return seconds, peak[0] - start, result


def ours(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    counter = Counter(scores.dtype)
    counter.add(scores, labels)
    histogram = counter.histogram()
    area, precision = roc_area(histogram), average_precision(histogram)
    assert area is not None
    assert precision is not None
    return area, precision


def reference(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    return float(roc_auc_score(labels, scores)), float(average_precision_score(labels, scores))


def made(n: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores as of a good network, and labels of which a fifth is boundary."""
    random = np.random.default_rng(0)
    labels = (random.random(n, np.float32) < 0.2).astype(np.int8)
    scores = random.standard_normal(n, np.float32)
    scores *= 1.5
    scores += np.where(labels, np.float32(2), np.float32(-2.5))
    np.exp(np.negative(scores, out=scores), out=scores)
    scores += 1
    np.reciprocal(scores, out=scores)
    if kind != "float32":
        scores = np.rint(np.multiply(scores, np.iinfo(kind).max, out=scores), out=scores).astype(kind)
    return scores, labels


def compared(n: int, kind: str, rounds: int) -> None:
    scores, labels = made(n, kind)
    ours(scores[:10], labels[:10])  # compile
    ratios, memories, quick, slow = [], [], [], []
    for _ in range(rounds):
        runs = [measured(lambda: ours(scores, labels)) for _ in range(5)]
        quick.append(statistics.median(run[0] for run in runs))
        seconds, much, wanted = measured(lambda: reference(scores, labels))
        slow.append(seconds)
        ratios.append(seconds / quick[-1])
        memories.append((max(run[1] for run in runs), much))
    counter = Counter(scores.dtype)
    counter.add(scores, labels)
    found, histogram = runs[0][2], counter.histogram()
    bound, wide = roc_area_error(histogram), average_precision_error(histogram)
    little, much = max(little for little, _ in memories), min(much for _, much in memories)
    print(
        f"{kind:8} {statistics.median(quick) * 1e3:8.1f} ms {statistics.median(slow) * 1e3:8.0f} ms "
        f"{statistics.median(ratios):6.0f}x ({min(ratios):.0f}-{max(ratios):.0f})   "
        f"{little:6.1f} MB {much:6.0f} MB 1/{much / max(little, 0.1):.0f}   "
        f"area off by {abs(found[0] - wanted[0]):.1e} (bound {bound:.1e}), "
        f"average precision off by {abs(found[1] - wanted[1]):.1e} (bound {wide:.1e})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--types", nargs="+", default=["uint8", "uint16", "float32"])
    given = parser.parse_args()
    print(f"{given.scores} scores; columns: ours, scikit-learn, ratio; memory of both, ratio")
    for kind in given.types:
        compared(given.scores, kind, given.rounds)


if __name__ == "__main__":
    main()
