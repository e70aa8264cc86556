"""The evaluation functions of ELEKTRONN2 under their names, for scripts that call them.

They see whole arrays and 64 thresholds; :mod:`elektronn.evaluation.evaluate` counts every score of files that do not
fit into memory. Names, arguments, order of results and zero rules are the ancestor's. Its defects are not: hard labels
have a loss, lists of cubes of different size work, −1 is ignored in the report too, no prediction of another model is
taken from a cache, and the best segmentation is the one with the highest Rand value.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elektronn.artefacts import write_text, writing
from elektronn.axes import whole
from elektronn.errors import DataError
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume, open_volume

Floats = NDArray[np.float64]
Cubes = ArrayLike | Sequence[ArrayLike]
"""One array, or a list of arrays that may differ in size."""

THRESHOLDS: Floats = np.linspace(0, 1, 64)
LEVELS = (100, 128, 156, 184, 212, 240)
"""uint8 probabilities at which :func:`evaluate_model_binary` cuts a prediction into segments."""


def _pairs(labs: Cubes, preds: Cubes) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    ragged = isinstance(labs, list | tuple)
    for lab, pred in zip(labs, preds, strict=True) if ragged else [(labs, preds)]:  # type: ignore[arg-type]
        one, other = np.asarray(lab), np.asarray(pred)
        if one.shape != other.shape:
            raise DataError(f"labels {one.shape} and predictions {other.shape} differ in size; crop them alike")
        yield one, other


def confusion_table(labs: Cubes, preds: Cubes) -> tuple[int, int, int, int]:
    """Count what a yes/no prediction gets right and wrong.

    Args:
        labs: labels, any shape: 1, 0, and −1 (any negative) for ignored; an array or a list of cubes. A value between
            0 and 1 counts on both sides.
        preds: the same shapes: 1 positive, 0 negative.

    Returns:
        True positives, true negatives, false positives, false negatives.

    Example:
        >>> confusion_table([1, 0, 1, -1], [1, 1, 0, 1])
        (1, 0, 1, 1)
    """
    total = np.zeros(4, np.int64)
    for lab, pred in _pairs(labs, preds):
        yes, no = lab > 0, (lab >= 0) & (lab != 1)
        called, spared = pred != 0, pred != 1
        total += [np.count_nonzero(part) for part in (yes & called, no & spared, no & called, yes & spared)]
    tp, tn, fp, fn = total.tolist()
    return tp, tn, fp, fn


def performance_measure(tp: int, tn: int, fp: int, fn: int) -> tuple[float, ...]:
    """Rates of a confusion table.

    Returns:
        True-positive rate, false-positive rate, precision, recall, balanced accuracy, accuracy, F1. A rate without
        cases is 0, but precision is 1 where nothing was called positive.

    Raises:
        ZeroDivisionError: all four counts are 0.

    Example:
        >>> performance_measure(3, 4, 1, 2)[:4]
        (0.6, 0.2, 0.75, 0.6)
    """
    accuracy = (tp + tn) / (tp + tn + fp + fn)
    recall, rejected = _share(tp, tp + fn), _share(tn, tn + fp)
    precision = tp / (tp + fp) if tp + fp else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return recall, _share(fp, fp + tn), precision, recall, (recall + rejected) / 2, accuracy, f1


def _share(part: int, of: int) -> float:
    return part / of if of else 0.0


def eval_thresh(args: tuple[float, Cubes, Cubes]) -> tuple[float, ...]:
    """:func:`performance_measure` of the probabilities that reach a threshold.

    Args:
        args: threshold, labels, probabilities; one tuple, so that a pool of workers can map over many.
    """
    thresh, labs, preds = args
    pairs = [(lab, np.asarray(pred, np.float64) >= thresh) for lab, pred in _pairs(labs, preds)]
    return performance_measure(*confusion_table([lab for lab, _ in pairs], [called for _, called in pairs]))


def roc_area(tpr: ArrayLike, fpr: ArrayLike) -> float:
    """Area below a ROC curve given at rising thresholds, so from (1, 1) down to (0, 0); trapezoids.

    Example:
        >>> roc_area([1, 1, 0.5, 0], [1, 0.5, 0, 0])
        0.875
    """
    return float(np.trapezoid(np.asarray(tpr)[::-1], np.asarray(fpr)[::-1]))


def find_nearest(array: ArrayLike, value: float) -> Any:
    """The element that is closest to ``value``; the first of several.

    Example:
        >>> float(find_nearest([0.0, 1.0, 2.0], 1.5))
        1.0
    """
    values = np.asarray(array)
    return values.flat[np.abs(values - value).argmin()]


def evaluate(
    gt: Cubes, preds: Cubes, save_name: str, thresh: float | None = None, n_proc: int | None = None
) -> tuple[float, float, float]:
    """Accuracy at a threshold, and the ROC area over 64 thresholds; draws ``<save_name>.performance.png``.

    Args:
        gt: labels 1, 0, −1 for ignored; an array or a list of cubes.
        preds: probabilities of 1, same shapes.
        save_name: path of the figure without its ending.
        thresh: moved to the nearest of the 64; ``None`` or 0: the first one with the highest accuracy.
        n_proc: kept for old calls and without effect; all thresholds are counted in one pass.

    Returns:
        Accuracy, ROC area, threshold. The area is that of 64 points; the one of every score is
        :func:`elektronn.evaluation.curves.roc_area`.

    Raises:
        DataError: no voxel has a label.
    """
    reached = np.zeros((2, THRESHOLDS.size), np.int64)
    totals = np.zeros((2, 1), np.int64)
    for lab, pred in _pairs(gt, preds):
        for row, chosen in enumerate((lab == 0, lab > 0)):
            place = np.searchsorted(THRESHOLDS, np.asarray(pred, np.float64)[chosen], side="right")
            reached[row] += np.bincount(place, minlength=THRESHOLDS.size + 1)[::-1].cumsum()[-2::-1]
            totals[row] += np.count_nonzero(chosen)
    if not totals.any():
        raise DataError(f"{save_name}: every label is negative (ignored), so nothing can be judged; check the labels")
    (fp, tp), (tn, fn) = reached, totals - reached
    perf = np.array([performance_measure(*map(int, counts)) for counts in zip(tp, tn, fp, fn)])
    accuracy = perf[:, 5]
    best = int(np.abs(THRESHOLDS - thresh).argmin() if thresh else accuracy.argmax())
    area, chosen_thresh = roc_area(perf[:, 0], perf[:, 1]), float(THRESHOLDS[best])
    _draw_performance(f"{save_name}.performance.png", perf, chosen_thresh, area)
    return float(accuracy[best]), area, chosen_thresh


def _draw_performance(path: str, perf: Floats, thresh: float, area: float) -> None:
    figure = _figure((8, 7))
    (top, right), (left, last) = figure.subplots(2, 2)
    for axes, column, name in ((top, 6, "F1"), (right, 5, "accuracy")):
        axes.plot(THRESHOLDS, perf[:, column])
        axes.axvline(thresh, color="grey")
        axes.set(xlabel="threshold", ylabel=name, ylim=(0, 1.02))
    left.plot(perf[:, 3], perf[:, 2])
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    last.plot(perf[:, 1], perf[:, 0])
    last.set(xlabel="false-positive rate", ylabel="true-positive rate", title=f"area {area:.4f}", xlim=(0, 1))
    _save(figure, path)


class ErrorHistogram(NamedTuple):
    """Voxels per bin of the probability: all, those of label 1, those of label 0; and the centres of the bins."""

    centres: Floats
    total: NDArray[np.int64]
    pos: NDArray[np.int64]
    neg: NDArray[np.int64]


def error_hist(gt: Cubes, preds: Cubes, save_name: str, thresh: float = 0.42) -> ErrorHistogram:
    """Histogram of the probabilities of each class; draws ``<save_name>.error_histogram.png`` with a log axis.

    Ignored voxels (negative labels) are left out. There are min(500, voxels / 3) bins from 0 to 1.
    """
    pairs = list(_pairs(gt, preds))
    labels = np.concatenate([lab.ravel() for lab, _ in pairs])
    p = np.concatenate([pred.ravel() for _, pred in pairs])[labels >= 0]
    labels = labels[labels >= 0]
    bins = max(1, int(min(500, p.size / 3)))
    counts = [np.histogram(part, bins, (0, 1))[0] for part in (p, p[labels > 0], p[labels == 0])]
    edges = np.linspace(0, 1, bins + 1)
    result = ErrorHistogram((edges[:-1] + edges[1:]) / 2, *counts)
    figure = _figure((7, 4))
    axes = figure.subplots()
    for values, name in zip(counts, ("all", "positive", "negative")):
        axes.step(result.centres, values, where="mid", label=name)
    axes.set_yscale("symlog", linthresh=1)
    axes.axvline(thresh, color="grey")
    axes.set(xlabel="predicted probability", ylabel="voxels")
    axes.legend()
    _save(figure, f"{save_name}.error_histogram.png")
    return result


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str) -> None:
    with writing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def rescale_fudge(pred: ArrayLike, fudge: float = 0.15) -> Floats:
    """Clip probabilities to [fudge, 1 − fudge] and stretch that range to [0, 1]; a copy.

    Example:
        >>> rescale_fudge([0, 0.15, 0.5, 1]).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    return (np.clip(np.asarray(pred, np.float64), fudge, 1 - fudge) - fudge) / (1 - 2 * fudge)


def binary_nll(pred: Cubes, gt: Cubes) -> float:
    """Half of the mean binary cross entropy, in nats; of a list, the mean of its items.

    Args:
        pred: probabilities of 1.
        gt: labels from 0 to 1, hard or soft, same shapes.
    """
    from scipy.special import xlog1py, xlogy

    means = [-0.5 * float((xlogy(t, p) + xlog1py(1 - t, -p)).mean()) for t, p in _pairs(gt, preds=pred)]
    return sum(means) / len(means)


class DenseModel(Protocol):
    """A network that predicts whole cubes.

    One that also has ``fingerprint``, a text that changes with its weights, lets predictions be kept on disk.
    """

    def predict_dense(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Image ``(channels, z, y, x)`` → class probabilities ``(classes, z', y', x')``, concentric."""


def evaluate_model_binary(
    model: DenseModel,
    name: str,
    data: Any = None,
    valid_d: Sequence[ArrayLike] | None = None,
    valid_l: Sequence[ArrayLike] | None = None,
    train_d: Sequence[ArrayLike] | None = None,
    train_l: Sequence[ArrayLike] | None = None,
    n_proc: int = 2,
    betaloss: bool = False,
    fudgeysoft: bool = False,
) -> dict[str, float]:
    """Judge a model on the first four training cubes and all validation cubes.

    Writes beside each other, for ``name`` = ``folder/net``: ``0-net-REPORT.txt`` (a header and one row),
    ``1-net_train.performance.png`` and ``….error_histogram.png``, the same for ``valid``, and the probabilities
    ``2-net_train_0_pred.h5``, …, which are read again only if image and ``model.fingerprint`` are the same.

    Args:
        model: network.
        name: folder and name of the files.
        data: object with the four lists as attributes; the lists given by name go first.
        valid_d: images ``(channels, z, y, x)``.
        valid_l: labels ``(z, y, x)``, concentric with the images: boundary above 0.5, negative = ignored.
        train_d: as ``valid_d``, and ``train_l`` as ``valid_l``; without them their figures are not-a-number.
        n_proc: kept for old calls and without effect.
        betaloss: the probability is channel 0 instead of 1.
        fudgeysoft: take the loss of :func:`rescale_fudge` of the probabilities.

    Returns:
        The report: loss ``nll``, accuracy ``acc`` and ROC area ``ROCA`` of training (``T_``) and validation (``V_``),
        the differences ``d_`` (training − validation), the Rand value of each validation cube, their mean: 13
        columns for four cubes. A Rand value is the best :func:`rand_index` of the connected components below one of
        six levels against those of the labels.

    Raises:
        DataError: no validation labels; labels and images differ in number or oddly in size.
    """
    given = {"train_d": train_d, "train_l": train_l, "valid_d": valid_d, "valid_l": valid_l}
    lists = {
        key: list((value if value is not None else getattr(data, key, None)) or ()) for key, value in given.items()
    }
    if not lists["valid_l"]:
        raise DataError(f"{name}: there are no validation labels; give valid_d and valid_l, or data that has them")
    folder, short = Path(name).parent, Path(name).name
    row: dict[str, float] = {}
    cubes: dict[str, list[tuple[NDArray[Any], Floats]]] = {}
    for letter, role in (("T", "train"), ("V", "valid")):
        images, labels = (lists[f"{role}_{kind}"][: 4 if role == "train" else None] for kind in "dl")
        if len(images) != len(labels):
            raise DataError(f"{name}: {len(images)} {role} images and {len(labels)} labels; give one label per image")
        stem = f"{short}_{role}"
        kept = [folder / f"2-{stem}_{i}_pred.h5" for i in range(len(images))]
        found = [_prediction(model, np.asarray(d), file)[0 if betaloss else 1] for d, file in zip(images, kept)]
        cubes[role] = [_concentric(_binary(label), p, name) for label, p in zip(labels, found)]
        row |= dict(
            zip((f"{letter}_nll", f"{letter}_acc", f"{letter}_ROCA"), _figures(cubes[role], folder, stem, fudgeysoft))
        )
    row |= {f"d_{key}": row[f"T_{key}"] - row[f"V_{key}"] for key in ("acc", "ROCA")}
    rand = [_best_rand(label, p) for label, p in cubes["valid"]]
    row |= {f"Rand_{i}": value for i, value in enumerate(rand)} | {"Rand_mean": sum(rand) / len(rand)}
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([row, [f"{value:.6g}" for value in row.values()]])
    write_text(folder / f"0-{short}-REPORT.txt", text.getvalue())
    return row


def _figures(
    cubes: list[tuple[NDArray[Any], Floats]], folder: Path, stem: str, fudgeysoft: bool
) -> tuple[float, float, float]:
    """Loss, accuracy and ROC area of all cubes of a role together."""
    if not cubes:
        return math.nan, math.nan, math.nan
    labels, preds = ([cube[i] for cube in cubes] for i in (0, 1))
    save_name = str(folder / f"1-{stem}")
    accuracy, area, thresh = evaluate(labels, preds, save_name)
    error_hist(labels, preds, save_name, thresh)
    judged = [(p[label >= 0], label[label >= 0]) for label, p in cubes if (label >= 0).any()]
    soft = [rescale_fudge(p) if fudgeysoft else p for p, _ in judged]
    return binary_nll(soft, [label for _, label in judged]), accuracy, area


def _prediction(model: DenseModel, image: NDArray[Any], file: Path) -> NDArray[Any]:
    """Class probabilities, from the file if this model made it of this image."""
    fingerprint = getattr(model, "fingerprint", "")
    key = hashlib.sha256(f"{fingerprint}{image.shape}{image.dtype}".encode() + image.tobytes()).hexdigest()
    address = Address(file)
    if fingerprint and file.exists():
        with open_volume(address) as volume:
            if volume.attributes.get("made_by") == key:
                return volume.read(order="czyx")
    values = np.asarray(model.predict_dense(image), np.float32)
    with create_volume(address, values.shape, np.float32, attributes={"made_by": key}) as sink:
        sink.write(whole(values.shape[1:]), values)
    return values


def _binary(labels: ArrayLike) -> NDArray[np.int8]:
    values = np.asarray(labels)
    values = values[0] if values.ndim == 4 else values
    return np.where(values < 0, -1, values > 0.5).astype(np.int8)


def _concentric(label: NDArray[Any], p: NDArray[Any], name: str) -> tuple[NDArray[Any], Floats]:
    """Both cut to what they have in common around their centres."""
    small = [min(a, b) for a, b in zip(label.shape, p.shape)]
    if any((n - s) % 2 for shape in (label.shape, p.shape) for n, s in zip(shape, small)):
        raise DataError(
            f"{name}: labels {label.shape} and prediction {p.shape} (zyx) have no common centre: "
            "the difference along an axis is odd; crop one voxel"
        )
    cuts = [tuple(slice((n - s) // 2, (n + s) // 2) for n, s in zip(a.shape, small)) for a in (label, p)]
    return label[cuts[0]], p[cuts[1]].astype(np.float64)


def _best_rand(label: NDArray[Any], p: Floats) -> float:
    from scipy.ndimage import label as components

    truth = components(label == 0)[0]
    levels = np.rint(p * 255)
    return max(rand_index(truth, components(levels < level)[0])[0] for level in LEVELS)


def rand_index(true: ArrayLike, pred: ArrayLike) -> tuple[float, float, float]:
    """V-Rand of a segmentation, and its two parts; 1 is perfect.

    Voxels of true id 0 do not count; predicted id 0 is a segment. A false merger lowers the part that the ancestor
    calls split, a false split the one it calls merge. Where no voxel counts, all are 1.

    Example:
        >>> rand_index([1, 1, 2, 2], [1, 1, 1, 1])
        (0.6666666666666666, 0.5, 1.0)
    """
    truth, found = np.ravel(true), np.ravel(pred)
    pairs = np.stack([truth, found])[:, truth != 0]
    if not pairs.size:
        return 1.0, 1.0, 1.0
    counts = [np.unique(ids, axis=1, return_counts=True)[1] for ids in (pairs, pairs[:1], pairs[1:])]
    both, s, t = (float((n.astype(np.float64) ** 2).sum()) for n in counts)
    return 2 * both / (s + t), both / t, both / s
