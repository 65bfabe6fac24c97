"""Segment: fine-tuning on labelled images, from scratch or from a pre-trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from fastseg.data.augment import AugmentConfig
from fastseg.data.sources import Labelled
from fastseg.frames import Camera, LabelledFrames, LabelledImages
from fastseg.methods import (
    LoopConfig,
    OptimConfig,
    RegulariserConfig,
    Start,
    TransferConfig,
    check_training,
    parse_size,
)
from fastseg.methods.labelled import OnLabelMaps, begin


@dataclass(frozen=True)
class Segment(OnLabelMaps):
    """Fine-tune a segmentation network; the paper's 40,000 steps.

    data        the data set
    root        where the data set `data` lies: a folder, or a place in a store
    out         the folder for checkpoints and metrics
    split       the data set's split to train on; `train:20` takes 20 of its images, chosen by the seed
    classes     these classes alone, in this order, pixels of all others are ignored; empty = all of the data set
    network     decoder/encoder, see fastseg.nets.build_network
    head        gated = its classifier gives way to dilated convolutions and the gates between them, learned without
                depth; or gated-WORDS, see fastseg.nets.gating.Gating; empty = its own
    size        HEIGHTxWIDTH that images and labels are resized to
    steps       in all, those of a resumed run included
    batch       images a step
    init_from   weights to start from, all but the classifier: a checkpoint folder, a .safetensors or .pth file,
                timm:NAME or torchvision:NAME; empty = random
    transfer    which weights come over, what stays frozen, cross-stitch
    resume      go on from the last good checkpoint in `out`
    regulariser a second branch of training alone, through an autoencoder of label maps
    seed        of everything random: weights, order, augmentation, dropout, few-shot choice
    """

    name: ClassVar[str] = "segment"

    data: Labelled
    root: str
    out: Path
    split: str = "train"
    classes: tuple[str, ...] = ()
    network: str = "segnet/vgg16_bn"
    head: str = ""
    size: str = "360x480"
    steps: int = 40_000
    batch: int = 4
    init_from: str = ""
    transfer: TransferConfig = field(default_factory=TransferConfig)
    resume: bool = False
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    regulariser: RegulariserConfig = field(default_factory=RegulariserConfig)

    def __post_init__(self) -> None:
        check_training(self.steps, self.batch, self.optim)
        parse_size(self.size)
        words = self.head.split("-")
        if self.head and (words[0] != "gated" or {"predicted", "ground_truth"} & {*words}):
            raise ValueError(
                f"--head is gated, gated-attention, gated-average, ...; got {self.head!r}; gates that need depth are "
                "trained by `fastseg train gating`"
            )

    def network_name(self) -> str:
        """`network` under its `head`, as `fastseg.nets.build_network` takes it."""
        head = "gated-attention" if self.head == "gated" else self.head
        return f"{head}/{self.network}" if head else self.network

    def examples(self) -> LabelledImages:
        """The split's labelled images, or as many of them as asked for."""
        split, colon, count = self.split.partition(":")
        whole = self._opened(split)
        return Few.chosen(whole, count, self.seed) if colon else whole

    def validation(self) -> LabelledImages | None:
        """The labelled images of loop.eval_split, when loop.eval_every asks for them."""
        return self._opened(self.loop.eval_split) if self.loop.eval_every else None

    def _opened(self, split: str) -> LabelledImages:
        from fastseg.data.chosen_classes import with_classes
        from fastseg.data.sources import open_labelled

        return with_classes(open_labelled(self.data, self.root, split), self.classes)

    def build(self, classes: int) -> Start:
        """The network with a fresh classifier, the rest from `init_from` as `transfer` says."""
        return begin(self, classes, self.transfer, self.network_name())


@dataclass(frozen=True)
class Few:
    """Some of a set's labelled images."""

    whole: LabelledImages
    chosen_indices: tuple[int, ...]

    @classmethod
    def chosen(cls, whole: LabelledImages, count: str, seed: int) -> Few:
        """`count` images drawn by the seed; ValueError when there are not so many."""
        if not count.isdecimal() or not 1 <= int(count) <= len(whole):
            raise ValueError(f"--split NAME:COUNT takes 1 to {len(whole)} images here; got {count!r}")
        order = np.random.default_rng((seed, len(whole))).permutation(len(whole))
        kept = tuple(sorted(int(index) for index in order[: int(count)]))
        return FewFrames(whole, kept) if hasattr(whole, "depth") else cls(whole, kept)

    @property
    def class_names(self) -> Sequence[str]:
        return self.whole.class_names

    def ids(self) -> list[str]:
        names = self.whole.ids()
        return [names[index] for index in self.chosen_indices]

    def __len__(self) -> int:
        return len(self.chosen_indices)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.unsignedinteger]]:
        return self.whole[self.chosen_indices[index]]


@dataclass(frozen=True)
class FewFrames(Few):
    """Some of a set's labelled images, of a set that has depth beside them (LabelledFrames)."""

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        return cast(LabelledFrames, self.whole).depth(self.chosen_indices[index])

    def camera(self, index: int) -> Camera | None:
        return cast(LabelledFrames, self.whole).camera(self.chosen_indices[index])
