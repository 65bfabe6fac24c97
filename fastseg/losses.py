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


def smoothness(disparity: Tensor, images: Tensor) -> Tensor:
    """How much a disparity varies where its image does not, a float32 scalar.

        mean |dx d*| e^-|dx I| + mean |dy d*| e^-|dy I|,   d* = d / mean d of each image, |d. I| a mean over channels

    disparity   (N, 1, H, W) floating, not negative; computed in float32
    images      (N, 3, H, W) float32 in [0, 1]

    Godard et al., 2017; depth pre-training paper (section 3.2).
    """
    disparity = disparity.float()
    relative = disparity / disparity.mean((2, 3), keepdim=True).clamp_min(1e-7)
    total = torch.zeros((), device=disparity.device)
    for axis in (-1, -2):
        edge = images.diff(dim=axis).abs().mean(1, keepdim=True)
        steep = relative.diff(dim=axis).abs() * (-edge).exp()
        total = total + steep.sum() / max(steep.numel(), 1)  # one row or column has no neighbour
    return total


def depth_l1(predicted: Tensor, depth: Tensor) -> Tensor:
    """Mean |predicted - depth| over the pixels with a measurement, a float32 scalar in metres; 0 where there is none.

    predicted   (N, H, W) floating, metres
    depth       (N, H, W) floating, metres; 0, negative, NaN and inf are no measurement, and take no gradient
    """
    kept = measured(depth)
    error = (predicted.float() - depth.float().where(kept, 0.0)).abs().where(kept, 0.0)
    return error.sum() / kept.sum().clamp_min(1)


def measured(depth: Tensor) -> Tensor:
    """Where a depth or disparity is a measurement, bool of its shape: positive and finite."""
    return depth.isfinite() & (depth > 0)


def stereo_depth(disparity: Tensor, focal: Tensor, baseline: float) -> Tensor:
    """The depth f b / d in metres, float32 (N, H, W), of stereo disparity; 0 where that is no measurement.

    disparity   (N, H, W) floating, pixels, left minus right; 0, negative, NaN and inf are no measurement
    focal       (N,) the focal length fx in pixels
    baseline    metres between the cameras

    ValueError: a baseline that is not positive.
    """
    if not 0 < baseline < float("inf"):
        raise ValueError(f"a stereo pair's baseline must be a positive number of metres; got {baseline:g}")
    kept = measured(disparity)
    depth = focal.float()[:, None, None] * baseline / disparity.float().where(kept, 1.0)
    return depth.where(kept, 0.0)
