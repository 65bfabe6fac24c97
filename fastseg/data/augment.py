"""An image and its label, changed together: flip, scale, crop, colour; chosen by (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.tensors import Tensor

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.unsignedinteger]
IGNORE = 255


@dataclass(frozen=True)
class Normalisation:
    """What a network subtracts and divides by, (R, G, B) of an image in [0, 1]; it travels with the weights."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8 as the network's float32 input, on their device."""
        import torch

        options: dict[str, Any] = {"dtype": torch.float32, "device": images.device}
        mean, std = (255 * torch.tensor(each, **options).reshape(3, 1, 1) for each in (self.mean, self.std))
        return (images.float() - mean) / std


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNIT = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class AugmentConfig:
    """How training images vary.

    flip        probability of a horizontal flip
    min_scale   the image is scaled by a factor of at least this (log-uniform), then cropped or padded
    max_scale   and of at most this
    jitter      brightness, contrast and saturation are multiplied by factors within 1 +- jitter
    """

    flip: float = 0.5
    min_scale: float = 0.8
    max_scale: float = 1.25
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ValueError(f"augment.flip is a probability between 0 and 1; got {self.flip:g}")
        if not 0 < self.min_scale <= self.max_scale <= 10:
            raise ValueError(f"scales must be 0 < min <= max <= 10; got {self.min_scale:g} and {self.max_scale:g}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"augment.jitter must lie in [0, 1); got {self.jitter:g}")


NOTHING = AugmentConfig(flip=0.0, min_scale=1.0, max_scale=1.0, jitter=0.0)


def augment(
    image: Bytes, label: Labels, size: tuple[int, int], config: AugmentConfig, key: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """The training pair of an image (H, W, 3) and its label (H, W): (3, h, w) uint8 and (h, w) uint8 tensors.

    size    (h, w) of the result; the whole image is resized to it, whatever its aspect, then scaled about it
    key     (seed, epoch, index): the same key gives the same pair, in any process

    Colour is resized bilinearly with antialias, the label to the nearest; what scaling leaves empty is grey and 255.
    The one class () of a whole image stays what it is, as a () int64 tensor.
    ValueError: image and label are not of one size, or not uint8.
    """
    import torch
    from torchvision.transforms.v2 import functional

    if label.ndim == 0:
        return augment(image, np.zeros(image.shape[:2], np.uint8), size, config, key)[0], torch.tensor(int(label))
    _check(image, label)
    random = np.random.default_rng(key)
    scale = float(np.exp(random.uniform(np.log(config.min_scale), np.log(config.max_scale))))
    place, flip, factors = random.random(2), random.random() < config.flip, _factors(random, config.jitter)
    colour, classes = _tensor(image).permute(2, 0, 1), _tensor(label)[None]
    if scale >= 1:
        colour, classes = _crop(colour, classes, size, scale, place)
    else:
        colour, classes = _shrink(colour, classes, size, scale, place)
    if flip:
        colour, classes = functional.horizontal_flip(colour), functional.horizontal_flip(classes)
    if config.jitter:
        colour = functional.adjust_brightness(colour, factors[0])
        colour = functional.adjust_contrast(colour, factors[1])
        colour = functional.adjust_saturation(colour, factors[2])
    return colour.contiguous(), classes[0].contiguous()


def resized(image: Bytes, size: tuple[int, int]) -> Tensor:
    """An image (H, W, 3) uint8 as (3, h, w) uint8, bilinear with antialias: what a network sees in evaluation."""
    from torchvision.transforms.v2 import functional

    small: Tensor = functional.resize(_tensor(image).permute(2, 0, 1), list(size), antialias=True)
    return small.contiguous()


def _tensor(array: Labels) -> Tensor:
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _check(image: Bytes, label: Labels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 (H, W, 3); got {image.dtype} {image.shape}")
    if label.dtype != np.uint8 or label.shape != image.shape[:2]:
        raise ValueError(f"its label must be uint8 {image.shape[:2]}, as its image; got {label.dtype} {label.shape}")


def _factors(random: np.random.Generator, jitter: float) -> list[float]:
    return [float(factor) for factor in random.uniform(1 - jitter, 1 + jitter, 3)]


def _crop(
    colour: Tensor, label: Tensor, size: tuple[int, int], scale: float, place: npt.NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """A window of 1 / scale of each side, resized to `size`: one resampling, not two."""
    from torchvision.transforms.v2 import functional
    from torchvision.transforms.v2.functional import InterpolationMode

    full = colour.shape[-2:]
    window = [max(1, round(side / scale)) for side in full]
    corner = [int(at * (side - part + 1)) for at, side, part in zip(place, full, window, strict=True)]
    box, target = (*corner, *window), list(size)
    return (
        functional.resized_crop(colour, *box, target, antialias=True),
        functional.resized_crop(label, *box, target, InterpolationMode.NEAREST_EXACT),
    )


def _shrink(
    colour: Tensor, label: Tensor, size: tuple[int, int], scale: float, place: npt.NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """The whole image at `scale` of `size`, set somewhere inside it."""
    from torchvision.transforms.v2 import functional
    from torchvision.transforms.v2.functional import InterpolationMode

    inner = [max(1, round(side * scale)) for side in size]
    top, left = (int(at * (side - part + 1)) for at, side, part in zip(place, size, inner, strict=True))
    margins = [left, top, size[1] - inner[1] - left, size[0] - inner[0] - top]
    small = functional.resize(colour, inner, antialias=True)
    small_label = functional.resize(label, inner, InterpolationMode.NEAREST_EXACT)
    return functional.pad(small, margins, fill=[124]), functional.pad(small_label, margins, fill=[IGNORE])
