from __future__ import annotations

import numpy as np
import pytest

from fastseg.metrics import confusion, scores
from fastseg.metrics_image import InstanceCounts, boundary_f, image_miou, mean_instance_sizes


def _random(seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, (12, 15))
    label[random.random(label.shape) < 0.1] = 255
    return label, random.integers(0, classes, label.shape)


def test_the_mean_over_images_is_not_that_over_the_set() -> None:
    pairs = [_random(seed) for seed in range(5)]
    matrices = [confusion(label, predicted, 4) for label, predicted in pairs]
    assert image_miou(matrices) == pytest.approx(np.mean([scores(m).miou for m in matrices]))
    assert np.isnan(image_miou([np.zeros((4, 4), np.int64)]))


def test_a_perfect_boundary_scores_one_and_a_shifted_one_by_its_distance() -> None:
    label = np.zeros((40, 40), np.int64)
    label[:, 20:] = 1
    assert boundary_f(label, label, 3) == pytest.approx([1.0, 1.0, np.nan], nan_ok=True)
    near, far = np.roll(label, 1, 1), np.roll(label, 5, 1)
    near[:, 0], far[:, :5] = 0, 0
    one_pixel = 1.0 / np.hypot(40, 40)
    assert boundary_f(label, near, 2, one_pixel) == pytest.approx([1.0, 1.0])
    assert boundary_f(label, far, 2, one_pixel) == pytest.approx([0.0, 0.0])
    assert boundary_f(label, far, 2, 5 * one_pixel) == pytest.approx([1.0, 1.0])


def test_half_a_boundary_is_half_recalled() -> None:
    label, predicted = np.zeros((40, 60), np.int64), np.zeros((40, 60), np.int64)
    label[:, 10:20], label[:, 40:50], predicted[:, 10:20] = 1, 1, 1
    precision, recall = 1.0, 0.5
    assert boundary_f(label, predicted, 2)[1] == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_boundary_against_void_does_not_count() -> None:
    label = np.zeros((20, 20), np.int64)
    label[:, 10:] = 255
    assert boundary_f(label, np.zeros_like(label), 2)[0] == 1.0


def test_a_missed_small_instance_costs_as_much_as_a_missed_large_one() -> None:
    label, instances = np.zeros((10, 40), np.int64), np.zeros((10, 40), np.int64)
    label[:, :20], instances[:, :20] = 1, 1  # 200 pixels
    label[:2, 30:40], instances[:2, 30:40] = 1, 2  # 20 pixels
    sizes = mean_instance_sizes([(label, instances)], 2)
    assert sizes[1] == 110
    found = []
    for missed in (1, 2):
        counts = InstanceCounts(np.array([np.nan, sizes[1]]))
        counts.add(label, np.where(instances == missed, 0, label), instances)
        found.append(counts.niou()[1])
    assert found == pytest.approx([0.5, 0.5]) and np.isnan(counts.niou()[0])


def test_without_instances_of_different_size_niou_is_iou() -> None:
    random = np.random.default_rng(3)
    instances = np.repeat(np.arange(1, 17), 25).reshape(20, 20)  # sixteen instances of 25 pixels
    label = np.isin(instances, random.permutation(16)[:8] + 1).astype(np.int64)
    predicted = random.integers(0, 2, label.shape)
    counts = InstanceCounts(mean_instance_sizes([(label, instances)], 2))
    counts.add(label, predicted, instances)
    assert counts.niou() == pytest.approx(scores(confusion(label, predicted, 2)).iou)


def test_a_crowd_is_neither_right_nor_wrong() -> None:
    label, instances = np.ones((4, 10), np.int64), np.zeros((4, 10), np.int64)
    instances[:, :5] = 7  # the rest is a crowd
    counts = InstanceCounts(mean_instance_sizes([(label, instances)], 2))
    assert counts.mean_sizes[1] == 20
    counts.add(label, np.zeros_like(label), instances)
    assert counts.niou()[1] == 0 and counts.wrong[1] == 20
