"""HN: pre-training on height and normal labels, which a depth sensor gives for nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from fastseg.data.augment import AugmentConfig
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, RegulariserConfig, check_training, parse_size
from fastseg.methods.labelled import OnLabelMaps


@dataclass(frozen=True)
class HN(OnLabelMaps):
    """Pre-train any segmentation network on HN-labels; the defaults are the paper's, and the spec's where it is silent.

    root        the output folder of pipelines.make_hn_labels, or a folder of several such folders; or such a place in a
                store, as in s3://bucket/run
    data        label shards, the one kind of data
    out         the folder for checkpoints and metrics
    network     decoder/encoder, see fastseg.nets.build_network
    size        HEIGHTxWIDTH that images and labels are resized to
    steps       in all, those of a resumed run included
    batch       images a step
    init_from   weights to start from: a checkpoint folder, a .safetensors or .pth file, timm:NAME or
                torchvision:NAME; empty = random
    resume      go on from the last good checkpoint in `out`
    regulariser a second branch of training alone, through an autoencoder of label maps
    seed        of everything random: weights, order, augmentation, dropout
    """

    name: ClassVar[str] = "hn"

    root: str
    out: Path
    data: Literal["shards"] = "shards"
    network: str = "segnet/vgg16_bn"
    size: str = "424x560"
    steps: int = 200_000
    batch: int = 4
    init_from: str = ""
    resume: bool = False
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    regulariser: RegulariserConfig = field(default_factory=RegulariserConfig)

    def __post_init__(self) -> None:
        check_training(self.steps, self.batch, self.optim)
        parse_size(self.size)
        if self.loop.eval_every:
            raise ValueError("loop.eval_every is for segment: label shards have no second split")

    def examples(self) -> LabelledImages:
        """The shards' colour images with their HN-labels."""
        from fastseg.data.hn_runs import open_runs

        return open_runs(self.root)

    def validation(self) -> None:
        """None: HN-labels are a means, not an end."""
        return None
