"""Pictures with rectangles removed, and what restoring them is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fastseg.data.batches import Batch, Recipe, Scene
from fastseg.nets import logits

KEPT, REMOVED = 0, 1  # labels of pixels; 255 = not seen
STREAM = 1  # beside (seed, epoch, index), of which augmentation draws


class InpaintSettings(Protocol):
    """What this file reads of `fastseg.methods.pretext.InpaintConfig`."""

    @property
    def holes(self) -> int: ...
    @property
    def smallest(self) -> float: ...
    @property
    def largest(self) -> float: ...
    @property
    def kept(self) -> float: ...


def with_holes(
    stream: Iterator[Batch], recipe: Recipe, images: int, settings: InpaintSettings, rank: int
) -> Iterator[Batch]:
    """The batches of a set of so many images, their labels 1 where a rectangle is removed, 0 where seen, else 255.

    Which rectangles is a function of (recipe.seed, epoch, index) alone.
    """
    with closing(stream):  # type: ignore[type-var]
        for batch in stream:
            rows = len(batch.ids)
            keys = recipe.chosen(images, batch.step)[rank * rows : (rank + 1) * rows]
            size = (int(batch.labels.shape[1]), int(batch.labels.shape[2]))
            holes = torch.stack([drawn_holes(size, settings, (recipe.seed, *key)) for key in keys])
            yield replace(batch, labels=batch.labels.masked_fill(holes & (batch.labels == KEPT), REMOVED))


def drawn_holes(size: tuple[int, int], settings: InpaintSettings, key: tuple[int, int, int]) -> Tensor:
    """(H, W) bool, true inside rectangles; the same key draws the same ones."""
    random = np.random.default_rng((*key, STREAM))
    found = torch.zeros(size, dtype=torch.bool)
    for sides, place in zip(random.random((settings.holes, 2)), random.random((settings.holes, 2)), strict=True):
        shares = settings.smallest + (settings.largest - settings.smallest) * sides
        height, width = (max(1, round(float(part) * side)) for part, side in zip(shares, size, strict=True))
        top, left = (int(at * (side - own + 1)) for at, side, own in zip(place, size, (height, width), strict=True))
        found[top : top + height, left : left + width] = True
    return found


def inpaint_loss(net: nn.Module, images: Tensor, labels: Tensor, scene: Scene, settings: InpaintSettings) -> Tensor:
    """The mean over the seen pixels of  w |I - sigmoid(x)|,  a mean over channels, a float32 scalar.

    w        1 where the picture was removed, `kept` elsewhere
    x        the network's three outputs for the images (N, 3, H, W), normalised, with 0 (the mean colour) in the holes
    labels   (N, H, W): 0 kept, 1 removed, 255 not seen

    Depth pre-training paper (section 4), which restores the whole picture; `kept` 0 is the masked autoencoder's choice.
    """
    removed = labels == REMOVED
    found = logits(net, images.masked_fill(removed[:, None], 0.0)).float().sigmoid()
    error = (found - scene.images.float() / 255).abs().mean(1)
    weight = removed.float() + settings.kept * (labels == KEPT)
    return (weight * error).sum() / (labels != 255).sum().clamp_min(1)
