from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.data.augment import IMAGENET, NOTHING, UNIT, AugmentConfig, augment
from fastseg.data.augment_colour import blurred

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
    with pytest.raises(ValueError, match=r"its label must be uint8 or uint16 \(30, 40\)"):
        augment(image, label[:-1], (8, 8), NOTHING, (0, 0, 0))


def test_every_change_has_draws_of_its_own() -> None:
    """Turning one on moves nothing that another decides."""
    image, label = _pair()
    plain = augment(image, label, (24, 24), AugmentConfig(), (1, 2, 3))
    more = augment(image, label, (24, 24), AugmentConfig(hue=0.1, blur=1.0), (1, 2, 3))
    assert torch.equal(plain.label, more.label) and not torch.equal(plain.image, more.image)


def test_hue_turns_colours_and_a_chance_of_none_leaves_them() -> None:
    image = np.full((8, 8, 3), (200, 40, 40), np.uint8)
    label = np.zeros((8, 8), np.uint8)
    configs = (AugmentConfig(0, 1, 1, 0, hue=0.5), AugmentConfig(0, 1, 1, 0.5, hue=0.5, jitter_chance=0.0))
    turned, left = (augment(image, label, (8, 8), config, (0, 0, 0)).image[:, 0, 0].tolist() for config in configs)
    assert (
        turned != [200, 40, 40] and max(turned) == pytest.approx(200, abs=2) and min(turned) == pytest.approx(40, abs=2)
    )
    assert left == [200, 40, 40]


def test_blur_is_a_gaussian() -> None:
    """A bright pixel becomes exp(-d^2 / 2 sigma^2) / (2 pi sigma^2), to a rounding of uint8 in each of two passes."""
    image = torch.zeros(3, 31, 41, dtype=torch.uint8)
    image[:, 15:18, 20:23] = 250
    blur = blurred(image, 1.5).float()
    v, u = torch.meshgrid(torch.arange(31.0), torch.arange(41.0), indexing="ij")
    near = [((v - 15 - i) ** 2 + (u - 20 - j) ** 2) for i in range(3) for j in range(3)]
    expected = 250 * sum(torch.exp(-each / 4.5) for each in near) / (2 * torch.pi * 2.25)
    assert float((blur - expected).abs().max()) < 2.5  # cut at three sigma: 0.3 % more in each pass
    assert bool((blur[0] == blur[2]).all())


def test_blur_of_the_smallest_pictures() -> None:
    for shape in ((3, 1, 1), (3, 1, 5), (3, 2, 2)):
        image = torch.full(shape, 7, dtype=torch.uint8)
        assert torch.equal(blurred(image, 2.0), image)


@pytest.mark.parametrize(
    "fields",
    [
        *({"flip": 2.0}, {"min_scale": 0.0}, {"min_scale": 2.0}, {"jitter": 1.0}, {"hue": 0.6}, {"rotate": -1.0}),
        *({"aspect": 0.5}, {"blur": 1.1}, {"blur_sigma": 0.0}, {"fit": "contain"}, {"rotate": float("nan")}),
    ],
)
def test_a_senseless_augmentation_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        AugmentConfig(**fields)
