"""Scores that one matrix over the whole set cannot give: by image, along boundaries, by instance."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.metrics import IGNORE, Counts, Floats, scores

NO_INSTANCE = 0

BOUNDARY_TOLERANCE = 0.0075  # of the image's diagonal


def image_miou(matrices: Sequence[Counts]) -> float:
    """The mean over images of each image's own mIoU, over the classes present in it; NaN when nothing is labelled.

    matrices   one confusion matrix (classes, classes) for each image
    """
    each = [scores(counts).miou for counts in matrices]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def boundary_f(
    label: npt.NDArray[Any], predicted: npt.NDArray[Any], classes: int, tolerance: float = BOUNDARY_TOLERANCE
) -> Floats:
    """The boundary F-score of each class in one image (classes,) float64; NaN for a class that the label lacks.

        F_c = 2 P_c R_c / (P_c + R_c)
    P_c is the share of the predicted class's boundary pixels within `tolerance` of the true class's boundary, R_c the
    same the other way (Csurka et al., BMVC 2013). A class without a boundary on either side scores 1, on one side 0.

    label, predicted   (H, W) integers; pixels labelled 255 and boundaries against them are left out
    tolerance          as a part of the image's diagonal; at least one pixel
    """
    from scipy.ndimage import distance_transform_edt

    reach = max(1.0, tolerance * float(np.hypot(*label.shape)))
    kept = label != IGNORE
    found = np.full(classes, np.nan)
    for index in np.unique(label[kept]):
        truth, guess = (_boundary(image == index, kept) for image in (label, predicted))
        if not truth.any() or not guess.any():
            found[index] = float(truth.any() == guess.any())
            continue
        precision = float((distance_transform_edt(~truth)[guess] <= reach).mean())
        recall = float((distance_transform_edt(~guess)[truth] <= reach).mean())
        found[index] = 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
    return found


def _boundary(inside: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of a class with a labelled 4-neighbour of another one: (H, W)."""
    edge = np.zeros_like(inside)
    for here, there in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        differs = (inside[here] != inside[there]) & kept[here] & kept[there]
        edge[here] |= differs & inside[here]
        edge[there] |= differs & inside[there]
    return edge


@dataclass
class InstanceCounts:
    """The sums behind the instance-weighted IoU (Cityscapes' iIoU, the gating paper's nIoU).

        nIoU_c = iTP_c / (iTP_c + FP_c + iFN_c)
    A pixel of an instance counts as (mean size of the class's instances) / (size of its instance); false positives
    count as pixels, as they belong to no instance.

    mean_sizes   (classes,) mean pixels of an instance; NaN for classes without instances, which have no nIoU
    """

    mean_sizes: Floats
    right: Floats = field(init=False)
    wrong: Floats = field(init=False)
    extra: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.right, self.wrong, self.extra = (np.zeros(len(self.mean_sizes)) for _ in range(3))

    def add(self, label: npt.NDArray[Any], predicted: npt.NDArray[Any], instances: npt.NDArray[Any]) -> None:
        """Count one image; label, predicted, instances (H, W) integers, an instance number is unique in its class.

        Pixels of a class that has instances, but of none of them (0: a group, a crowd), are left out.
        """
        kept = label != IGNORE
        for index in np.flatnonzero(~np.isnan(self.mean_sizes)):
            of_class, guess = (label == index) & kept, (predicted == index) & kept
            self.extra[index] += float((guess & ~of_class).sum())
            ours = of_class & (instances != NO_INSTANCE)
            numbers, at, sizes = np.unique(instances[ours], return_inverse=True, return_counts=True)
            if not len(numbers):
                continue
            weight = self.mean_sizes[index] / sizes
            hits = np.bincount(at.ravel(), weights=guess[ours], minlength=len(numbers))
            self.right[index] += float((weight * hits).sum())
            self.wrong[index] += float((weight * (sizes - hits)).sum())

    def niou(self) -> Floats:
        """nIoU of each class (classes,) float64; NaN without instances, or without any in the images counted."""
        total = self.right + self.wrong + self.extra
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(np.isnan(self.mean_sizes) | (self.right + self.wrong == 0), np.nan, self.right / total)


def mean_instance_sizes(images: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]], classes: int) -> Floats:
    """The mean pixels of each class's instances over (label, instances) of a set: (classes,) float64.

    NaN for a class without instances.
    """
    pixels, count = np.zeros(classes), np.zeros(classes)
    for label, numbers in images:
        kept = (label != IGNORE) & (numbers != NO_INSTANCE)
        for index in np.unique(label[kept]):
            inside = numbers[kept & (label == index)]
            pixels[index] += inside.size
            count[index] += len(np.unique(inside))
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, pixels / count, np.nan)


def image_scores(
    images: Sequence[Counts], boundaries: Sequence[Floats], things: InstanceCounts | None
) -> dict[str, float]:
    """image_miou; boundary_f (mean over classes present, then images) and niou (over classes) where measured."""
    found = {"image_miou": image_miou(images)}
    if boundaries:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an image without a single labelled pixel
            found["boundary_f"] = float(np.nanmean([np.nanmean(each) for each in boundaries]))
    if things is not None:
        niou = things.niou()
        found["niou"] = float(np.nanmean(niou)) if not np.isnan(niou).all() else float("nan")
    return found
