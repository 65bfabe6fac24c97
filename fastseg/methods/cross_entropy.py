"""The loss of every method whose targets are classes."""

from __future__ import annotations

from fastseg.losses import segmentation_loss
from fastseg.nets import scored
from fastseg.tensors import Module, Tensor

AUXILIARY = 0.4  # of a network's own second classifier (OCRNet, section 4.1)


def cross_entropy(net: Module, images: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    """Softmax cross-entropy over the labelled pixels, a scalar; 0.4 times that of a second classifier is added.

    images  (N, 3, H, W) float32, normalised; labels (N, H, W) integer, 255 = ignore; weight (classes,) or None
    """
    return two_classifiers(*scored(net, images), labels, weight)


def two_classifiers(found: Tensor, auxiliary: Tensor | None, labels: Tensor, weight: Tensor | None) -> Tensor:
    """The same of logits (N, classes, H, W) that were computed already."""
    loss = segmentation_loss(found, labels, weight)
    return loss if auxiliary is None else loss + AUXILIARY * segmentation_loss(auxiliary, labels, weight)
