from __future__ import annotations

import math

import pytest
import torch

from fastseg.losses import median_frequency_weights, segmentation_loss

pytestmark = pytest.mark.torch


def test_the_loss_is_the_mean_over_labelled_pixels() -> None:
    logits = torch.tensor([0.0, math.log(3.0)]).reshape(1, 2, 1, 1).expand(1, 2, 1, 3)
    labels = torch.tensor([[[0, 1, 255]]])
    expected = (-math.log(1 / 4) - math.log(3 / 4)) / 2
    torch.testing.assert_close(segmentation_loss(logits, labels), torch.tensor(expected))


def test_weights_weigh_and_normalise() -> None:
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    weight = torch.tensor([1.0, 2.0, 0.5])
    expected = torch.nn.functional.cross_entropy(logits, labels, weight)
    torch.testing.assert_close(segmentation_loss(logits, labels, weight), expected)


def test_an_all_ignored_batch_gives_zero_with_a_zero_gradient() -> None:
    for weight in (None, torch.ones(3)):
        logits = torch.randn(1, 3, 2, 2, requires_grad=True)
        loss = segmentation_loss(logits, torch.full((1, 2, 2), 255), weight)
        torch.autograd.backward(loss)
        assert loss.item() == 0.0
        assert logits.grad is not None and bool((logits.grad == 0).all())


def test_a_batch_of_weightless_classes_gives_zero() -> None:
    loss = segmentation_loss(torch.randn(1, 2, 2, 2), torch.zeros(1, 2, 2), torch.tensor([0.0, 1.0]))
    assert loss.item() == 0.0


def test_median_frequency_weights_of_rare_and_empty_classes() -> None:
    weights = median_frequency_weights(torch.tensor([100, 50, 0, 25]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0, 0.0, 2.0]))
