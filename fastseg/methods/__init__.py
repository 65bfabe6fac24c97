"""One paper, one file: a frozen dataclass of its hyper-parameters, with build / batches / loss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from fastseg.data.augment import Normalisation
from fastseg.data.batches import Batch, Scene
from fastseg.frames import LabelledImages
from fastseg.methods.settings import LoopConfig, OptimConfig, RegulariserConfig
from fastseg.tensors import Module, Tensor
from fastseg.transfer import Transfer

__all__ = [
    "LoopConfig", "Method", "OptimConfig", "RegulariserConfig", "Start", "TransferConfig", "check_training",
    "parse_size",
]  # fmt: skip


@dataclass(frozen=True)
class TransferConfig:
    """How weights come over from `init_from`.

    mode      all: everything but the classifier; encoder: the encoder alone, under a fresh decoder; cross_stitch: a
              fixed copy of its encoder feeds the network at its first four poolings
    freeze    the encoder's first blocks that keep those weights: no gradient, no step, fixed batch statistics;
              -1 = the whole encoder
    share     of cross_stitch: learned for each channel, or one scalar a pooling
    own       of cross_stitch: the network that learns starts from the same weights, or from random ones
    """

    mode: Literal["all", "encoder", "cross_stitch"] = "all"
    freeze: int = 0
    share: Literal["channel", "scalar"] = "channel"
    own: Literal["same", "random"] = "same"

    def __post_init__(self) -> None:
        if self.freeze < -1:
            raise ValueError(f"transfer.freeze is a number of blocks, or -1 for the whole encoder; got {self.freeze}")
        if self.freeze and self.mode == "cross_stitch":
            raise ValueError("transfer.freeze does not go with cross_stitch: its fixed encoder is frozen already")


@dataclass(frozen=True)
class Start:
    """A network as training begins, its name, what it subtracts and divides by, and where its weights came from.

    class_names   the classes that its labels must have, in order; empty = any
    """

    net: Module
    network: str
    normalisation: Normalisation
    transfer: Transfer | None
    class_names: tuple[str, ...] = ()


class Method(Protocol):
    """What the training loop asks of a paper."""

    name: ClassVar[str]

    @property
    def root(self) -> str: ...
    @property
    def out(self) -> Path: ...
    @property
    def network(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def init_from(self) -> str: ...
    @property
    def resume(self) -> bool: ...
    @property
    def seed(self) -> int: ...
    @property
    def optim(self) -> OptimConfig: ...
    @property
    def loop(self) -> LoopConfig: ...

    def examples(self) -> LabelledImages:
        """The labelled images to train on."""
        ...

    def validation(self) -> LabelledImages | None:
        """The labelled images to evaluate on while training, None when that was not asked for."""
        ...

    def build(self, classes: int) -> Start:
        """The network as training begins."""
        ...

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of steps start .. steps - 1: rows rank * n .. of each, n = batch / world."""
        ...

    def loss(
        self, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """The scalar to minimise, of normalised images (N, 3, H, W) and labels (N, H, W), or (N,) of whole images.

        scene   what the batch knows beside the labels: the images as they are, depth, camera, clips
        """
        ...


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """(height, width) of `HEIGHTxWIDTH`, as in 360x480; ValueError naming the option for anything else."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(size) < 32:
        raise ValueError(f"{option} is HEIGHTxWIDTH in pixels, each at least 32, as in 360x480; got {text!r}")
    return size


def check_training(steps: int, batch: int, optim: OptimConfig) -> None:
    """None; ValueError for a training that cannot be."""
    if steps < 1 or batch < 1:
        raise ValueError(f"--steps and --batch must be at least 1; got {steps} and {batch}")
    if optim.accumulate > batch:
        raise ValueError(f"optim.accumulate cannot be more than the {batch} images of a batch; got {optim.accumulate}")
