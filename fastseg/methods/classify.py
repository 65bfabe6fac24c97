"""Classify: an encoder's pre-training on whole images, the weak start that the HN-labels paper compares with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from fastseg.data.augment import AugmentConfig, Normalisation
from fastseg.data.batches import Scene
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, Start, check_training, parse_size
from fastseg.methods.labelled import OnImages
from fastseg.metrics import Counts
from fastseg.tensors import Module, Tensor

BEST = 5  # top-5: whether the class is among the five that score highest


@dataclass(frozen=True)
class Classify(OnImages):
    """Pre-train a segmentation network's encoder to name whole images; 200 times through CIFAR-100 by default.

    data        cifar100 (the published binary version) or imagefolder (a folder for each class)
    root        where it lies: a folder, or a place in a store
    out         the folder for checkpoints and metrics
    split       the data set's split to train on
    network     decoder/encoder of which the encoder is trained, see fastseg.nets.build_network
    size        HEIGHTxWIDTH that images are resized to
    steps       in all, those of a resumed run included
    batch       images a step
    init_from   weights to start from: a checkpoint folder, a .safetensors or .pth file, timm:NAME or
                torchvision:NAME; empty = random
    resume      go on from the last good checkpoint in `out`
    seed        of everything random: weights, order, augmentation, dropout
    """

    name: ClassVar[str] = "classify"

    data: Literal["cifar100", "imagefolder"]
    root: str
    out: Path
    split: str = "train"
    network: str = "segnet/vgg16_bn"
    size: str = "32x32"
    steps: int = 78_000
    batch: int = 128
    init_from: str = ""
    resume: bool = False
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=0.05, schedule="cosine"))
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(eval_split="test"))

    def __post_init__(self) -> None:
        check_training(self.steps, self.batch, self.optim)
        parse_size(self.size)

    def examples(self) -> LabelledImages:
        """The split's images, each with the class of the whole."""
        return self._opened(self.split)

    def validation(self) -> LabelledImages | None:
        """The images of loop.eval_split, when loop.eval_every asks for them."""
        return self._opened(self.loop.eval_split) if self.loop.eval_every else None

    def _opened(self, split: str) -> LabelledImages:
        from fastseg.data.cifar100 import Cifar100
        from fastseg.data.image_folder import ImageFolder

        return Cifar100(self.root, split) if self.data == "cifar100" else ImageFolder(self.root, split)

    def build(self, classes: int) -> Start:
        """The network's encoder under a fresh linear classifier of the mean of its last map."""
        from fastseg.methods.start import start

        return start(f"classify/{self.network}", classes, self.seed, self.init_from)

    def loss(
        self, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """Softmax cross-entropy of the images' classes, labels (N,)."""
        from torch.nn import functional

        from fastseg.nets import logits

        return functional.cross_entropy(logits(net, images).float(), labels.long(), weight)

    def ranked(self, net: Module, images: LabelledImages, normalisation: Normalisation) -> Counts:
        """(3,) int64: images whose class scores highest, those where it is among the five highest, and all of them.

        Leaves the network in evaluation mode.
        """
        import torch

        from fastseg.data.augment import resized
        from fastseg.nets import logits

        net.eval()
        device, size, counts = next(net.parameters()).device, parse_size(self.size), np.zeros(3, np.int64)
        with torch.inference_mode():
            for first in range(0, len(images), self.batch):
                pairs = [images[at] for at in range(first, min(first + self.batch, len(images)))]
                seen = torch.stack([resized(image, size) for image, _ in pairs]).to(device)
                truth = torch.tensor([int(label) for _, label in pairs], device=device)[:, None]
                found = logits(net, normalisation(seen)).float()
                rank = (found > found.gather(1, truth)).sum(1)
                counts += [int((rank < 1).sum()), int((rank < BEST).sum()), len(pairs)]
        return counts
