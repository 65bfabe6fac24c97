"""How a PSSL label is made: its settings, and what a label is in a file. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
TOP = 9  # the decile whose pixels take the image's class


@dataclass(frozen=True)
class PSSLConfig:
    """How a label is made; the defaults are the paper's, and the spec's where it is silent.

    samples      noisy copies of an image that each model sees, at most
    sigma        deviation of the noise, as a share of the span of the normalised image
    target       what is explained: the probability of the image's class, its logit, or the cross-entropy
    size         pixels of a side of the label; pictures are stretched to it as a whole
    seed         of the noise
    precision    of networks and gradients; maps are added up and ranked in float32
    memory_mb    MiB that one pass may take, as far as that can be foreseen
    pass_size    copies in one pass at most; 0 = 17 on a processor, 200 on a GPU
    compile      torch.compile the networks; the first passes then take minutes
    stop_at      stop an image's sampling once at most this share of its deciles changed since the last look; 0 = never
    look_every   copies between two looks
    """

    samples: int = 50
    sigma: float = 0.1
    target: Literal["probability", "logit", "loss"] = "probability"
    size: int = 224
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"
    memory_mb: int = 2048
    pass_size: int = 0
    compile: bool = False
    stop_at: float = 0.0
    look_every: int = 5

    def __post_init__(self) -> None:
        for name in ("samples", "size", "memory_mb", "look_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"pssl.{name} must be at least 1; got {getattr(self, name)}")
        if self.pass_size < 0 or self.seed < 0:
            raise ValueError(f"pssl.pass_size and seed must be at least 0; got {self.pass_size} and {self.seed}")
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"pssl.sigma must be a number that is not negative; got {self.sigma:g}")
        if not 0 <= self.stop_at < 1:
            raise ValueError(f"pssl.stop_at is a share, at least 0 and below 1; got {self.stop_at:g}")

    def most(self, device: str) -> int:
        """Copies in one pass at most on a device of that type."""
        return self.pass_size or (17 if device == "cpu" else 200)

    def rounds(self) -> Iterator[range]:
        """The numbers of the copies that are made between two looks: all of them when nothing is looked at."""
        step = self.look_every if self.stop_at else self.samples
        for first in range(0, self.samples, step):
            yield range(first, min(first + step, self.samples))


def packed(deciles: Bytes) -> bytes:
    """Deciles of any shape, 0..15, as 4 bits each in row order, the first in the low half; an odd one out ends in 0."""
    flat = np.append(deciles.ravel(), np.zeros(deciles.size % 2, np.uint8))
    return bytes((flat[::2] | flat[1::2] << 4).astype(np.uint8))


def unpacked(data: bytes, height: int, width: int) -> Bytes:
    """The deciles (height, width) uint8 of `packed` bytes; ValueError when they are not so many."""
    expected = (height * width + 1) // 2
    if min(height, width) < 1 or len(data) != expected:
        raise ValueError(f"deciles of {height} x {width} pixels take {expected} bytes; got {len(data)}")
    pairs = np.frombuffer(data, np.uint8)
    return np.stack([pairs & 15, pairs >> 4], 1).ravel()[: height * width].reshape(height, width)


def class_map(deciles: Bytes, number: int, background: int) -> npt.NDArray[np.uint16]:
    """The label (H, W) uint16 that is trained on: the image's class where the decile is 9, background elsewhere."""
    return np.where(deciles == TOP, np.uint16(number), np.uint16(background))
