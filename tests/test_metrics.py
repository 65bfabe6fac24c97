from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from fastseg.metrics import as_json, confusion, scores

pytestmark = pytest.mark.torch


def _case(seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], int]:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 12))
    label = rng.integers(0, classes, (2, 9, 7)).astype(np.uint8)
    guess = np.where(rng.random(label.shape) < 0.6, label, rng.integers(0, classes, label.shape)).astype(np.uint8)
    label[rng.random(label.shape) < 0.2] = 255
    if seed % 3 == 0:  # a class that is predicted but never there
        label[label == rng.integers(classes)] = 255
    return label, guess, classes


def test_scores_equal_torchmetrics_on_200_random_cases() -> None:
    """torchmetrics' macro mean also counts classes that are only predicted: its per-class values, our mean."""
    for seed in range(200):
        label, guess, classes = _case(seed)
        present = np.bincount(label[label != 255], minlength=classes) > 0
        if not present.any():
            continue
        ours = scores(confusion(label, guess, classes))
        truth, predicted = torch.from_numpy(label).long(), torch.from_numpy(guess).long()
        iou = MulticlassJaccardIndex(classes, average="none", ignore_index=255)(predicted, truth).numpy()
        accuracy = MulticlassAccuracy(classes, average="none", ignore_index=255)(predicted, truth).numpy()
        total = MulticlassAccuracy(classes, average="micro", ignore_index=255)(predicted, truth).item()
        np.testing.assert_allclose(ours.iou[present], iou[present], atol=1e-6)
        np.testing.assert_allclose(ours.miou, iou[present].mean(), atol=1e-6)
        np.testing.assert_allclose(ours.class_accuracy, accuracy[present].mean(), atol=1e-6)
        np.testing.assert_allclose(ours.global_accuracy, total, atol=1e-6)
        if present.all():
            macro = MulticlassJaccardIndex(classes, average="macro", ignore_index=255)(predicted, truth).item()
            np.testing.assert_allclose(ours.miou, macro, atol=1e-6)


def test_a_small_matrix_by_hand() -> None:
    result = scores(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]]))
    assert result.global_accuracy == 9 / 12
    assert result.class_accuracy == (6 / 8 + 3 / 4) / 2
    assert result.miou == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert np.isnan(result.iou[2])


def test_nothing_labelled_scores_nothing() -> None:
    blank = np.full((4, 4), 255, np.uint8)
    result = scores(confusion(blank, np.zeros_like(blank), 3))
    assert as_json(result, ["a", "b", "c"])["miou"] is None


def test_matrices_of_parts_add_up_to_the_matrix_of_the_whole() -> None:
    label, guess, classes = _case(4)
    parts = confusion(label[0], guess[0], classes) + confusion(label[1], guess[1], classes)
    assert np.array_equal(parts, confusion(label, guess, classes))


def test_a_label_outside_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="class 7, but there are 3 classes"):
        confusion(np.array([0, 7]), np.array([0, 1]), 3)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 3)
