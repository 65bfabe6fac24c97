"""PSSL: pre-training of whole segmentation networks on pseudo labels of classified pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fastseg.data.augment import AugmentConfig
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, RegulariserConfig, check_training, parse_size
from fastseg.methods.labelled import OnLabelMaps
from fastseg.tensors import Tensor

EPOCH = 20_018  # steps: 1,281,167 pictures, 64 at a time


def _varied() -> AugmentConfig:
    return AugmentConfig(min_scale=0.5, max_scale=2.0, blur=0.1, rotate=10.0)


def _optimised() -> OptimConfig:
    return OptimConfig(lr=0.01, schedule="step", step_at=(20 * EPOCH,), step_factor=0.1)


@dataclass(frozen=True)
class PSSL(OnLabelMaps):
    """Pre-train any segmentation network on PSSL labels; the paper's 30 epochs of ImageNet by default.

    root        the output folder of pipelines.make_pssl_labels, or such a place in a store; with --pictures a folder of
                published masks, NAME_eiseg.npz
    out         the folder for checkpoints and metrics
    pictures    of published masks: the folder of their pictures, CLASS/NAME.jpg
    images      how many of the pictures to train on, drawn by the seed; 0 = all
    background  the weight of the background in the loss; that of every class is 1
    network     decoder/encoder, see fastseg.nets.build_network: the paper's are pspnet/resnet50,
                deeplabv3/resnest50d and ocrnet/hrnet_w18
    size        HEIGHTxWIDTH that pictures and labels are resized to
    steps       in all, those of a resumed run included
    batch       pictures a step
    init_from   weights to start from: a checkpoint folder, a .safetensors or .pth file, timm:NAME; empty = random
    resume      go on from the last good checkpoint in `out`
    regulariser a second branch of training alone, through an autoencoder of label maps
    seed        of everything random: weights, order, augmentation, dropout, which pictures
    """

    name: ClassVar[str] = "pssl"

    root: str
    out: Path
    pictures: str = ""
    images: int = 0
    background: float = 0.1
    network: str = "pspnet/resnet50"
    size: str = "256x256"
    steps: int = 30 * EPOCH
    batch: int = 64
    init_from: str = ""
    resume: bool = False
    seed: int = 0
    augment: AugmentConfig = field(default_factory=_varied)
    optim: OptimConfig = field(default_factory=_optimised)
    loop: LoopConfig = field(default_factory=LoopConfig)
    regulariser: RegulariserConfig = field(default_factory=RegulariserConfig)

    def __post_init__(self) -> None:
        check_training(self.steps, self.batch, self.optim)
        parse_size(self.size)
        if self.images < 0 or not 0 < self.background < float("inf"):
            raise ValueError(f"--images must be at least 0, --background above 0; got {self.images}, {self.background}")
        if self.loop.eval_every:
            raise ValueError("loop.eval_every is for segment: label shards have no second split")
        if self.optim.class_weights != "none":
            raise ValueError("optim.class_weights does not go with pssl: --background weighs its classes")

    def examples(self) -> LabelledImages:
        """The pictures with their labels, or as many of them as asked for."""
        from fastseg.methods.segment import Few

        whole = self._whole()
        if self.images > len(whole):
            raise ValueError(f"--images {self.images} are more than the {len(whole)} pictures of {self.root}")
        return Few.chosen(whole, str(self.images), self.seed) if self.images else whole

    def _whole(self) -> LabelledImages:
        from fastseg.data.pssl_masks import PSSLMasks
        from fastseg.data.pssl_shards import PSSLShards

        return PSSLMasks(self.root, self.pictures) if self.pictures else PSSLShards(self.root)

    def validation(self) -> None:
        """None: pseudo labels are a means, not an end."""
        return None

    def weights(self, classes: int) -> Tensor:
        """What each class counts in the loss, (classes,) float32: `background` for the last, 1 for the others."""
        import torch

        return torch.ones(classes).index_fill(0, torch.tensor([classes - 1]), self.background)
