"""What the networks minimise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = 255


def segmentation_loss(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy averaged over the labelled pixels, a float32 scalar; 0 where every pixel is ignored.

        sum_p w[y_p] * -log softmax(x_p)[y_p] / sum_p w[y_p]     over the pixels p with y_p != 255

    logits  (N, classes, H, W) floating; computed in float32
    labels  (N, H, W) integer, 255 = ignore
    weight  (classes,) float32, None = 1 for each class

    An all-ignored batch gives 0 with a zero gradient, not 0 / 0.
    """
    labels = labels.long()
    total = functional.cross_entropy(logits.float(), labels, weight, ignore_index=IGNORE, reduction="sum")
    mass = labelled_mass(labels, weight)
    return total / mass.clamp_min(torch.finfo(torch.float32).tiny).where(mass > 0, 1.0)


def labelled_mass(labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """sum_p w[y_p] over the labelled pixels, what `segmentation_loss` divides by, a float32 scalar.

    labels  integer of any shape, 255 = ignore; (N,) are the classes of whole images, none of them left out
    weight  (classes,) float32, None = 1 for each class
    """
    kept = (labels != IGNORE) | (labels.ndim == 1)
    if weight is None:
        return kept.sum().float()
    return weight[labels.long().where(kept, 0)].where(kept, 0.0).sum()


def median_frequency_weights(pixels: Tensor) -> Tensor:
    """Class weights (classes,) float32: median frequency / frequency; 0 for an empty class.

    After Eigen and Fergus (2015), but a class's frequency is its share of all labelled pixels, where theirs is its
    share of the images that hold it: a class of few images weighs more here.

    pixels  (classes,) integer, labelled pixels of each class; the median is over the classes present
    """
    present = pixels > 0
    frequency = pixels.double() / pixels.sum().clamp_min(1)
    if not bool(present.any()):
        return torch.zeros(pixels.shape)
    median = frequency[present].quantile(0.5)
    return (median / frequency.where(present, 1.0)).where(present, 0.0).float()
