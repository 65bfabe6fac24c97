from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.data.augment import IMAGENET, NOTHING, UNIT, AugmentConfig, augment

pytestmark = pytest.mark.torch

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def _pair(seed: int = 0, size: tuple[int, int] = (30, 40)) -> Pair:
    """Blocks of colour, each with its own class: the red channel says which class a pixel belongs to."""
    label = np.kron(np.random.default_rng(seed).integers(0, 5, (3, 4)), np.ones((10, 10), int)).astype(np.uint8)
    label = label[: size[0], : size[1]]
    return np.stack([label * 40, label * 0, label * 0], -1), label


def test_without_augmentation_a_pair_of_the_right_size_is_unchanged() -> None:
    image, label = _pair()
    colour, classes, *_ = augment(image, label, (30, 40), NOTHING, (0, 0, 0))
    assert np.array_equal(colour.permute(1, 2, 0).numpy(), image)
    assert np.array_equal(classes.numpy(), label)


def test_the_same_key_gives_the_same_pair_and_another_key_another() -> None:
    image, label = _pair()
    config = AugmentConfig()
    first, again = (augment(image, label, (24, 24), config, (1, 2, 3)) for _ in range(2))
    others = [augment(image, label, (24, 24), config, key) for key in ((2, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert all(not torch.equal(first[0], other[0]) for other in others)


@pytest.mark.parametrize("scales", [(0.5, 0.99), (1.01, 2.5)])
def test_label_and_colour_move_together(scales: tuple[float, float]) -> None:
    image, label = _pair()
    for index in range(20):
        colour, classes, *_ = augment(image, label, (60, 80), AugmentConfig(0.5, *scales, 0.0), (0, 0, index))
        kept = classes != 255
        wrong = (colour[0].float() / 40 - classes.float()).abs()[kept] > 0.5
        assert kept.float().mean() > 0.2
        assert wrong.float().mean() < 0.12  # the blurred edges between blocks


def test_labels_hold_no_class_that_was_not_there() -> None:
    image, label = _pair()
    for index in range(20):
        _, classes, *_ = augment(image, label, (33, 47), AugmentConfig(0.5, 0.5, 2.0, 0.3), (0, 0, index))
        assert set(classes.flatten().tolist()) <= set(np.unique(label).tolist()) | {255}


def test_a_flip_mirrors_both() -> None:
    image, label = _pair()
    colour, classes, *_ = augment(image, label, (30, 40), AugmentConfig(1.0, 1.0, 1.0, 0.0), (0, 0, 0))
    assert np.array_equal(classes.numpy(), label[:, ::-1])
    assert np.array_equal(colour[0].numpy(), image[:, ::-1, 0])


def test_normalisation_of_black_and_white() -> None:
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    assert torch.equal(UNIT(white), torch.ones(1, 3, 1, 1))
    expected = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(IMAGENET(white).flatten(), expected)


def test_image_and_label_of_different_sizes_are_refused() -> None:
    image, label = _pair()
    with pytest.raises(ValueError, match=r"its label must be uint8 \(30, 40\)"):
        augment(image, label[:-1], (8, 8), NOTHING, (0, 0, 0))


@pytest.mark.parametrize("fields", [{"flip": 2.0}, {"min_scale": 0.0}, {"min_scale": 2.0}, {"jitter": 1.0}])
def test_a_senseless_augmentation_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        AugmentConfig(**fields)
