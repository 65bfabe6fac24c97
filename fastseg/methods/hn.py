"""HN: pre-training on height and normal labels, which a depth sensor gives for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from fastseg.data.augment import AugmentConfig
from fastseg.data.batches import Batch, Recipe, Scene, batches
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, RegulariserConfig, Start, check_training, parse_size
from fastseg.tensors import Module, Tensor


@dataclass(frozen=True)
class HN:
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

    def build(self, classes: int) -> Start:
        """The network with one output for each pair of a normal bin and a height bin."""
        from fastseg.methods.regulariser import regularised
        from fastseg.methods.start import start

        begun = start(self.network, classes, self.seed, self.init_from)
        return regularised(begun, self.regulariser, classes, parse_size(self.size), self.seed)

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of steps start .. steps - 1: this rank's rows of each."""
        recipe = Recipe(parse_size(self.size), self.batch, self.seed, self.augment)
        return batches(examples, recipe, start, self.steps, self.loop.workers, rank=rank, world=world)

    def loss(
        self, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """Softmax cross-entropy over the pixels with a label, and the regulariser's loss beside it."""
        from fastseg.methods.regulariser import regularised_loss

        return regularised_loss(net, images, labels, weight, self.regulariser)
