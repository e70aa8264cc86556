"""Streaming ROC area + average precision against scikit-learn, in the same run: speed, memory, difference.

python benchmarks/roc.py [--scores 10000000]
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from elektronn.evaluation.counters import Counter
from elektronn.evaluation.curves import average_precision, roc_area, roc_area_error


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measured(work: Callable[[], tuple[float, float]]) -> tuple[float, float, tuple[float, float]]:
    """Seconds, MB above the start at the highest sample (every 2 ms), result."""
    done, start, peak = threading.Event(), resident_mb(), [resident_mb()]

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - before
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=int, default=10_000_000)
    n = parser.parse_args().scores
    random = np.random.default_rng(0)
    labels = (random.random(n, np.float32) < 0.2).astype(np.int8)
    logit = random.standard_normal(n, np.float32) * 1.5 + np.where(labels, 2.0, -2.5).astype(np.float32)
    p = 1 / (1 + np.exp(-logit))
    kinds = {"uint8": np.round(p * 255), "uint16": np.round(p * 65535), "float32": p}
    print(f"{n} scores; columns: ours, scikit-learn, ratio")
    for name, values in kinds.items():
        scores = values.astype(name)
        ours(scores[:10], labels[:10])  # compile
        runs = [measured(lambda scores=scores: ours(scores, labels)) for _ in range(5)]
        seconds, _, found = min(runs)
        slow, much, wanted = measured(lambda scores=scores: reference(scores, labels))
        counter = Counter(scores.dtype)
        counter.add(scores, labels)
        bound = roc_area_error(counter.histogram())
        print(
            f"{name:8} {seconds * 1e3:8.1f} ms {slow * 1e3:8.0f} ms {slow / seconds:6.0f}x   "
            f"{max(run[1] for run in runs):6.1f} MB {much:6.0f} MB   "
            f"area off by {abs(found[0] - wanted[0]):.1e} (bound {bound:.1e}), "
            f"average precision off by {abs(found[1] - wanted[1]):.1e}; {n / seconds / 1e6:.0f} Mvox/s"
        )


if __name__ == "__main__":
    main()
