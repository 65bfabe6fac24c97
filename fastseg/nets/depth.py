"""Depth networks: a decoder with skips and four scales over any pyramid encoder; disparity and the depth it stands for.

A depth network is a segmentation network with one output x a pixel, and sigma = sigmoid(x) is its disparity, so that
`deeplabv3/resnet50` and `dpt/vit_large_patch16_224` are depth networks as they stand.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.made_again import encoded, made_again
from fastseg.nets.published import pyramid

SCALES = 4
WIDTHS = (16, 32, 64, 128, 256)  # of the decoder's levels, from the image's own size down
REMADE = 2  # finest levels that training makes again in the backward: two thirds of the decoder's memory, 3 % of a step


class Level(nn.Module):
    """Features twice as large, (N, width, 2 h, 2 w): convolved, grown, joined with the encoder's map, convolved."""

    def __init__(self, below: int, beside: int, width: int) -> None:
        super().__init__()
        self.before = _convolution(below, width)
        self.after = _convolution(width + beside, width)

    def forward(self, x: Tensor, beside: Tensor | None) -> Tensor:
        grown = functional.interpolate(functional.elu(self.before(x), inplace=True), scale_factor=2.0)
        joined = grown if beside is None else torch.cat([grown, beside], 1)
        return functional.elu(self.after(joined), inplace=True)


class SkipDecoder(nn.Module):
    """Features (N, 16, H, W) of an encoder's maps: one `Level` a halving, each joined with the map of its size.

    channels   of the encoder's maps, image first; a map of no channels (encoders that begin at a quarter) adds nothing
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        below, beside = [*WIDTHS[1:], channels[-1]], [0, *channels[1:-1]]
        self.levels = nn.ModuleList(Level(*each) for each in zip(below, beside, WIDTHS, strict=True))

    def every(self, maps: list[Tensor]) -> list[Tensor]:
        """The features of every level, (N, WIDTHS[s], H / 2^s, W / 2^s), finest first."""
        x, found = maps[-1], []
        for index in reversed(range(len(WIDTHS))):
            beside = maps[index] if index else None
            level = self.levels[index]
            x = made_again(level, x, beside) if index < REMADE else level(x, beside)
            found.append(x)
        return found[::-1]

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.every(maps)[0]


class SkipNet(nn.Module):
    """Logits (N, classes, H, W) of images (N, 3, H, W), sides multiples of 32.

    encoder             of five maps, from half of the image's size to a thirty-second
    decoder             SkipDecoder
    segmentation_head   3x3 convolution of the finest features; `coarser` the same of the next, for `scales`
    """

    requires_divisible_input_shape: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, channels: list[int], classes: int, scales: int = 1) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, SkipDecoder(channels)
        self.segmentation_head = _convolution(WIDTHS[0], classes)
        self.coarser = nn.ModuleList(_convolution(width, classes) for width in WIDTHS[1:scales])

    def scales(self, images: Tensor) -> list[Tensor]:
        """The logits (N, classes, H / 2^s, W / 2^s) of every scale s, finest first."""
        heads = [self.segmentation_head, *self.coarser]
        return [
            head(each) for head, each in zip(heads, self.decoder.every(encoded(self.encoder, images)), strict=False)
        ]

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.segmentation_head(self.decoder(self.encoder(images))))


def skip(encoder: str, classes: int, scales: int = 1) -> SkipNet:
    """A SkipNet over one of timm's encoders, `resnet18` and `resnet50` the paper's.

    ValueError: an encoder that is not known, or without five halvings.
    """
    found, channels = pyramid(encoder)
    return SkipNet(found, channels, classes, scales)


def depth_of(disparity: Tensor, nearest: float, farthest: float) -> Tensor:
    """The depth in metres of a disparity sigma in [0, 1], of its shape: 1/d = 1/farthest + (1/nearest - 1/farthest) s.

    ValueError: not 0 < nearest < farthest.
    """
    if not 0 < nearest < farthest < float("inf"):
        raise ValueError(f"depth must lie between 0 < nearest < farthest metres; got {nearest:g} and {farthest:g}")
    return (1 / farthest + (1 / nearest - 1 / farthest) * disparity.float()).reciprocal()


def grown(disparity: Tensor, scale: int, size: tuple[int, int]) -> Tensor:
    """A disparity (N, 1, h, w) of scale s at full resolution, (N, H, W): bilinear, 2^s times as large, cropped."""
    if scale:
        factor = float(2**scale)
        disparity = functional.interpolate(disparity, scale_factor=factor, mode="bilinear", align_corners=False)
    return disparity[:, 0, : size[0], : size[1]].contiguous()


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate")
