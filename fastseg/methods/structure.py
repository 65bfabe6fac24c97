"""Structure: an autoencoder of label maps, whose decoder then regularises a segmentation network's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from fastseg.data.augment import AugmentConfig
from fastseg.data.batches import Scene
from fastseg.data.label_maps import AS_THEY_ARE, LabelPictures, LabelSource, open_labels
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, Start, check_training, parse_size
from fastseg.methods.labelled import OnImages
from fastseg.tensors import Module, Tensor

MOST = 255  # classes; a map is a picture of them here, 8 bits deep
Widths = Literal[32, 128, 256]


def _optim() -> OptimConfig:
    return OptimConfig(lr=1e-3, optimizer="adamw", weight_decay=0.0, schedule="cosine")


@dataclass(frozen=True)
class LabelStructure(OnImages):
    """Train an autoencoder of label maps; widths, depth and size are the paper's, which is silent on the training.

    data        where the labels are: a segmentation set; shards = a label run, or a folder of several; labels = a
                folder with labels/NAME.png and classes.txt, without images
    root        where it lies: a folder, or a place in a store
    out         the folder for checkpoints and metrics
    split       the data set's split to train on; labels: all, or NAME of NAME.txt
    widths      channels of the bottleneck, a sixteenth of the map's sides: 32 (all layers 32), 128 (32, then 128), 256
                (32, three times 128, 256)
    size        HEIGHTxWIDTH that label maps are resized to
    steps       in all, those of a resumed run included
    batch       maps a step
    init_from   weights to start from: a checkpoint folder, a .safetensors or .pth file; empty = random
    resume      go on from the last good checkpoint in `out`
    seed        of everything random: weights, order, augmentation
    """

    name: ClassVar[str] = "label-autoencoder"

    data: LabelSource
    root: str
    out: Path
    split: str = "train"
    widths: Widths = 128
    size: str = "256x256"
    steps: int = 10_000
    batch: int = 12
    init_from: str = ""
    resume: bool = False
    seed: int = 0
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(jitter=0.0))
    optim: OptimConfig = field(default_factory=_optim)
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        check_training(self.steps, self.batch, self.optim)
        parse_size(self.size)
        if self.loop.eval_every and self.data == "shards":
            raise ValueError("loop.eval_every needs a second split, which label shards do not have")

    @property
    def network(self) -> str:
        """Its name, as `fastseg.nets.build_network` takes it."""
        return f"label-autoencoder/{self.widths}"

    def examples(self) -> LabelledImages:
        """The split's labels; of their images nothing is used."""
        return open_labels(self.data, self.root, self.split)

    def validation(self) -> LabelledImages | None:
        """The labels of loop.eval_split as their own pictures, when loop.eval_every asks for them."""
        if not self.loop.eval_every:
            return None
        return LabelPictures(open_labels(self.data, self.root, self.loop.eval_split), parse_size(self.size))

    def build(self, classes: int) -> Start:
        """The autoencoder, which takes label maps as they are; ValueError for more classes than such maps can name."""
        from dataclasses import replace

        from fastseg.methods.start import start

        if classes > MOST:
            raise ValueError(f"a label autoencoder takes maps of at most {MOST} classes; these have {classes}")
        return replace(start(self.network, classes, self.seed, self.init_from), normalisation=AS_THEY_ARE)

    def loss(
        self, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """Softmax cross-entropy of the reconstruction over the pixels with a label; images are not looked at."""
        from fastseg.losses import segmentation_loss
        from fastseg.nets.label_autoencoder import LabelAutoencoder

        if not isinstance(net, LabelAutoencoder):
            raise ValueError(f"a label autoencoder is needed to learn label maps; got {type(net).__name__}")
        return segmentation_loss(net.reconstructed(labels), labels, weight)
