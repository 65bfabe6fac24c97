"""What a gated network minimises: segmentation and depth, over all its passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from fastseg.losses import measured, segmentation_loss
from fastseg.methods.cross_entropy import cross_entropy
from fastseg.nets.gating_depth import quantised
from fastseg.nets.gating_net import GatedNet, Pass


class Weights(Protocol):
    """What these losses read of `fastseg.methods.gating.GateWeights`."""

    @property
    def loops(self) -> Sequence[float]: ...
    @property
    def regression(self) -> float: ...
    @property
    def classes(self) -> float: ...


def gating_loss(
    net: nn.Module, images: Tensor, labels: Tensor, weight: Tensor | None, depth: Tensor | None, weights: Weights
) -> Tensor:
    """sum_l loops_l seg_l + regression reg_l + classes cls_l over the passes l, a float32 scalar (equation 1).

    seg_l     cross-entropy of the labelled pixels at the images' size
    reg_l     `log_depth_loss`, cls_l cross-entropy of the depth bins, both on the grid of the features
    depth     (N, H, W) metres, 0 = no measurement; None where neither gates nor losses need it

    ValueError: the weights ask for depth, and there is none.
    """
    if not isinstance(net, GatedNet):  # the image at several sizes
        return cross_entropy(net, images, labels, weight)
    passes = net.every(images, depth)
    shares = list(weights.loops)[-len(passes) :]
    terms = [
        share * segmentation_loss(net.shown(each, images), labels, weight)
        for share, each in zip(shares, passes, strict=True)
    ]
    if weights.regression or weights.classes:
        terms += [depth_loss(net, each, depth, weights) for each in passes]
    return torch.stack(terms).sum()


def depth_loss(net: GatedNet, found: Pass, depth: Tensor | None, weights: Weights) -> Tensor:
    """What one pass's depth branch adds to the loss, a float32 scalar."""
    if depth is None:
        raise ValueError("the depth branch learns from the depth of a batch, and this one has none")
    truth = net.grid_depth(depth, found.gate)
    total = torch.zeros((), device=depth.device)
    if found.bins is not None:
        total = total + weights.classes * segmentation_loss(found.bins, quantised(truth, net.edges))
    if found.log_depth is not None:
        total = total + weights.regression * log_depth_loss(found.log_depth, truth)
    return total


def log_depth_loss(predicted: Tensor, depth: Tensor) -> Tensor:
    """Mean over the measured pixels of (log D - log D*)^2, a float32 scalar; 0 where there is none.

    predicted   (N, h, w) log of metres
    depth       (N, h, w) metres; 0, negative, NaN and inf are no measurement, and take no gradient
    """
    kept = measured(depth)
    error = (predicted.float() - depth.float().where(kept, 1.0).log()).where(kept, 0.0)
    return error.square().sum() / kept.sum().clamp_min(1)
