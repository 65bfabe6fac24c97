from __future__ import annotations

import pytest
import torch

from fastseg.losses import depth_l1, smoothness, stereo_depth

pytestmark = pytest.mark.torch
NAN = float("nan")


def test_smoothness_is_its_formula() -> None:
    torch.manual_seed(0)
    disparity, images = torch.rand(2, 1, 4, 5, dtype=torch.float64), torch.rand(2, 3, 4, 5)
    total = {"x": 0.0, "y": 0.0}
    for n in range(2):
        d, picture = disparity[n, 0] / disparity[n, 0].mean(), images[n]
        for v in range(4):
            for u in range(5):
                if u < 4:
                    edge = (picture[:, v, u + 1] - picture[:, v, u]).abs().mean()
                    total["x"] += float((d[v, u + 1] - d[v, u]).abs() * torch.exp(-edge)) / (2 * 4 * 4)
                if v < 3:
                    edge = (picture[:, v + 1, u] - picture[:, v, u]).abs().mean()
                    total["y"] += float((d[v + 1, u] - d[v, u]).abs() * torch.exp(-edge)) / (2 * 3 * 5)
    assert float(smoothness(disparity, images)) == pytest.approx(total["x"] + total["y"], rel=1e-5)  # float32 sums


def test_smoothness_does_not_know_the_scale_of_the_scene() -> None:
    disparity, images = torch.rand(1, 1, 6, 6), torch.rand(1, 3, 6, 6)
    torch.testing.assert_close(smoothness(disparity, images), smoothness(disparity / 7, images))
    assert float(smoothness(torch.full((1, 1, 6, 6), 0.3), images)) == pytest.approx(0, abs=1e-6)
    assert float(smoothness(torch.zeros(1, 1, 1, 1), torch.zeros(1, 3, 1, 1))) == 0


def test_depth_counts_where_it_was_measured_and_nowhere_else() -> None:
    predicted = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]], requires_grad=True)
    depth = torch.tensor([[[1.5, 0.0, -1.0, NAN, float("inf"), 4.0]]])
    loss = depth_l1(predicted, depth)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == (0.5 + 2.0) / 2
    assert predicted.grad is not None and predicted.grad.tolist() == [[[-0.5, 0.0, 0.0, 0.0, 0.0, 0.5]]]


def test_no_measurement_at_all_is_a_loss_of_zero() -> None:
    predicted = torch.ones(1, 2, 2, requires_grad=True)
    loss = depth_l1(predicted, torch.full((1, 2, 2), NAN))
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0 and predicted.grad is not None and not predicted.grad.any()


def test_a_disparity_stands_for_a_depth() -> None:
    disparity = torch.tensor([[[10.0, 0.0, NAN, -3.0]], [[5.0, float("inf"), 1.0, 2.0]]])
    found = stereo_depth(disparity, torch.tensor([500.0, 100.0]), 0.2)
    torch.testing.assert_close(found, torch.tensor([[[10.0, 0, 0, 0]], [[4.0, 0, 20, 10]]]))
    with pytest.raises(ValueError, match="baseline must be a positive number"):
        stereo_depth(disparity, torch.ones(2), 0.0)
