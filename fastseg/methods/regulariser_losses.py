"""What the branches of a regulariser are compared with: the labels, or a label encoder's activations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fastseg.losses import IGNORE, segmentation_loss
from fastseg.nets.label_autoencoder import one_hot


def label_loss(logits: Tensor, labels: Tensor, weight: Tensor | None, squares: bool) -> Tensor:
    """The loss of a decoder branch, a float32 scalar: softmax cross-entropy, or, of `squares`,

        sum_p w[y_p] |softmax(x_p) - onehot(y_p)|^2 / sum_p w[y_p]     over the pixels p with y_p != 255

    logits (N, classes, H, W); labels (N, H, W) integer; weight (classes,) or None
    """
    if not squares:
        return segmentation_loss(logits, labels, weight)
    wrong = (logits.float().softmax(1) - one_hot(labels, logits.shape[1])).square().sum(1)
    return averaged(wrong, mass_of(labels, weight))


def activation_loss(pairs: list[tuple[Tensor, Tensor]], labels: Tensor, weight: Tensor | None) -> Tensor:
    """The mean squared error of told activations over channels and labelled places, a float32 scalar.

    pairs    of an EncoderBranch, for labels (N, H, W); a place of conv3 counts by its labelled pixels
    """
    mass, (height, width) = mass_of(labels, weight)[:, None], labels.shape[-2:]
    terms = []
    for told, target in pairs:
        rows, columns = target.shape[-2:]
        step = -(-height // rows)
        whole = functional.pad(mass, (0, step * columns - width, 0, step * rows - height))
        here = functional.avg_pool2d(whole, step)[:, 0]
        terms.append(target.shape[1] * averaged((told.float() - target.float()).square().mean(1), here))
    return torch.stack(terms).sum() / sum(target.shape[1] for _, target in pairs)


def mass_of(labels: Tensor, weight: Tensor | None) -> Tensor:
    """What each pixel counts, float32 (N, H, W): its class's weight, 0 without a label."""
    kept = labels != IGNORE
    if weight is None:
        return kept.float()
    return weight[labels.long().where(kept, 0)].where(kept, 0.0)


def averaged(values: Tensor, mass: Tensor) -> Tensor:
    """sum values * mass / sum mass, 0 where there is no mass."""
    whole = mass.sum()
    return (values * mass).sum() / whole.where(whole > 0, 1.0)
