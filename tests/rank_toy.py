"""A run that tests start in several processes: `python rank_toy.py OUT WHAT [key=value ...]`; see `Toy`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fastseg import distributed
from fastseg.data.augment import NOTHING
from fastseg.data.batches import Batch, Scene
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, RegulariserConfig, Start
from fastseg.methods.segment import Segment
from fastseg.train import fit

RANK = int(os.environ.get("RANK", "0"))


class Squares:
    """Images of coloured squares on grey; a band of each image, of its own width, is not labelled."""

    class_names = ("ground", "red", "green")

    def ids(self) -> list[str]:
        return [f"squares/{index}" for index in range(12)]

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        random = np.random.default_rng(index)
        image = random.integers(90, 110, (64, 64, 3), dtype=np.uint8)
        label = np.zeros((64, 64), np.uint8)
        for kind in (1, 2):
            top, left = random.integers(0, 40, 2)
            label[top : top + 20, left : left + 20] = kind
            image[top : top + 20, left : left + 20] = np.eye(3)[kind - 1] * 220
        label[:, : 5 * index] = 255
        return image, label


@dataclass(frozen=True)
class Toy(Segment):
    """Trains as always, and at one rank, before step 3, does what `split` says.

    train     nothing
    term      tells its own process to stop
    die       ends its own process without a word
    hang      stops answering
    poison    makes its loss not a number in step 3
    sentence  finds an image that cannot be used
    """

    given: ClassVar[list[int]] = []  # the steps whose batches were given out

    def build(self, classes: int) -> Start:
        begun = super().build(classes)
        for module in begun.net.modules():
            if isinstance(module, nn.Dropout2d):  # its masks are each rank's own
                module.p = 0.0
        return begun

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in super().batches(examples, start, rank, world):
            self.given.append(batch.step)
            if batch.step == 3 and rank == world - 1:
                self._disturb()
            yield batch

    def _disturb(self) -> None:
        if self.split == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.split == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.split == "hang":
            time.sleep(600)
        if self.split == "sentence":
            raise ValueError("squares/7 cannot be used")

    def loss(
        self, net: nn.Module, images: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None,
        scene: Scene | None = None,
    ) -> torch.Tensor:  # fmt: skip
        good = super().loss(net, images, labels, weight)
        poisoned = self.split == "poison" and RANK == 1 and self.given[-1] == 3
        return good * (float("nan") if poisoned else 1.0)


def main(words: list[str]) -> int:
    """The exit code of the run; `timeout` among the keys is that of the process group."""
    keys = dict(word.split("=") for word in words[2:])
    distributed.TIMEOUT_S = float(keys.get("timeout", "240"))
    optim = OptimConfig(lr=float(keys.get("lr", "0.01")), class_weights="median")
    every = int(keys.get("eval", "0"))
    loop = LoopConfig(
        device="cpu", workers=int(keys.get("workers", "0")), threads=1, save_every=100, log_every=1, eval_every=every
    )
    method = Toy(
        "folder", "nowhere", Path(words[0]), split=words[1], network=keys.get("network", "unet/resnet10t"),
        size="64x64", steps=int(keys.get("steps", "6")), batch=4, resume="resume" in keys, augment=NOTHING,
        optim=optim, loop=loop, regulariser=RegulariserConfig(keys.get("kind", "none"), keys.get("autoencoder", "")),
    )  # fmt: skip
    try:
        return fit(method, Squares(), Squares() if every else None)
    except (ValueError, OSError) as error:
        print(f"{RANK}: {error}", file=sys.stderr)
        return 1 if isinstance(error, OSError) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
