"""Segmentation scores, all from one confusion matrix over a whole set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IGNORE = 255
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def confusion(label: npt.NDArray[Any], predicted: npt.NDArray[Any], classes: int) -> Counts:
    """Pixels by (class in the label, class predicted): (classes, classes) int64; pixels labelled 255 are left out.

    label, predicted    integer arrays of one shape

    ValueError: the shapes differ, or a value lies outside the classes.
    """
    if label.shape != predicted.shape:
        raise ValueError(f"label and prediction must have one shape; got {label.shape} and {predicted.shape}")
    kept = label != IGNORE
    truth, guess = label[kept].astype(np.int64), predicted[kept].astype(np.int64)
    for what, values in (("label", truth), ("prediction", guess)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            wrong = int(values.max() if values.max() >= classes else values.min())
            raise ValueError(f"a {what} holds class {wrong}, but there are {classes} classes (0 to {classes - 1})")
    return np.bincount(truth * classes + guess, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says; fractions in [0, 1].

    miou                mean of `iou` over the classes present in the ground truth
    global_accuracy     share of the labelled pixels predicted right
    class_accuracy      mean of `accuracy` over the classes present in the ground truth
    iou, accuracy       (classes,) float64; NaN for a class that no label holds
    pixels              (classes,) int64, labelled pixels of each class
    """

    miou: float
    global_accuracy: float
    class_accuracy: float
    iou: Floats
    accuracy: Floats
    pixels: Counts


def scores(counts: Counts) -> Scores:
    """The scores of a confusion matrix `counts[label, predicted]` (classes, classes).

        iou_c = n_cc / (sum_j n_cj + sum_i n_ic - n_cc)      accuracy_c = n_cc / sum_j n_cj

    A class absent from the ground truth has no iou of its own and does not enter the means; what was wrongly
    predicted as it still counts against the class that was there. All NaN when nothing is labelled.
    """
    right, pixels, guessed = np.diag(counts), counts.sum(1), counts.sum(0)
    present = pixels > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(present, right / (pixels + guessed - right), np.nan)
        accuracy = np.where(present, right / pixels, np.nan)
    if not present.any():
        return Scores(np.nan, np.nan, np.nan, iou, accuracy, pixels)
    total = float(right.sum() / counts.sum())
    return Scores(float(iou[present].mean()), total, float(accuracy[present].mean()), iou, accuracy, pixels)


def check_chosen(chosen: Sequence[str], names: Sequence[str]) -> None:
    """None; ValueError for a class that the set does not have."""
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise ValueError(f"--classes names {unknown[0]!r}; the classes are {', '.join(names)}")


def subset(counts: Counts, chosen: Sequence[str], names: Sequence[str]) -> Counts:
    """The matrix with the rows of other classes emptied: only pixels of the chosen classes are scored.

    What a chosen class's pixel was taken for still counts against it, whatever that was. ValueError: unknown class.
    """
    check_chosen(chosen, names)
    kept = counts.copy()
    kept[[index for index, name in enumerate(names) if name not in chosen]] = 0
    return kept


def mean_iou(result: Scores, chosen: Sequence[str], class_names: Sequence[str]) -> float:
    """The mean of `iou` over the chosen classes that are present in the ground truth; NaN when none is."""
    ious = [iou for iou, name in zip(result.iou, class_names, strict=True) if name in chosen and not np.isnan(iou)]
    return float(np.mean(ious)) if ious else float("nan")


def as_json(result: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Scores as plain values: miou, global_accuracy, class_accuracy, per_class (a list; null for an absent class)."""
    rows = zip(class_names, result.iou, result.accuracy, result.pixels, strict=True)
    return {
        "miou": _plain(result.miou),
        "global_accuracy": _plain(result.global_accuracy),
        "class_accuracy": _plain(result.class_accuracy),
        "per_class": [
            {"class": name, "iou": _plain(iou), "accuracy": _plain(accuracy), "pixels": int(pixels)}
            for name, iou, accuracy, pixels in rows
        ],
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
