"""The PSSL benchmarks' own arithmetic: stopping rules replayed, differences of labels, the rate's floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from benchmarks.pssl_rate import flops
from benchmarks.pssl_stopping import Stopping, _differences, _rule
from fastseg.labels.pssl_member import Member

pytestmark = pytest.mark.torch


def test_the_floor_counts_a_pass_forward_and_back_to_the_image() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).requires_grad_(False)
    assert flops(Member("one", net, (0, 0, 0), (1, 1, 1), 224)) == 2 * (2 * 3 * 8 * 224 * 224)


def test_a_rule_stops_at_the_first_look_that_changed_little() -> None:
    ranks = np.zeros((4, 10, 10), np.uint8)
    ranks[:, :5] = 9
    ranks[0, 0] = 0  # a tenth changes at the second look, nothing after
    config = Stopping(Path("models"), Path("data"), copies=20, every=5)
    assert _rule([ranks], 0.2, config)["mean_copies"] == 10
    found = _rule([ranks], 0.05, config)
    assert found["mean_copies"] == 15 and found["saved"] == 0.25 and found["changed_deciles"] == 0


def test_differences_of_labels_are_shares_and_an_overlap() -> None:
    one, two = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    one[0], two[0, :5], two[1, :5] = 9, 9, 1
    found = _differences([one], [two])
    assert found == pytest.approx({"changed_deciles": 0.1, "changed_by_more_than_one": 0.05, "mask_iou": 0.5})
