"""The peer of `fastseg.data.batches`: torch's DataLoader and torchvision's v2 transforms, as their manual has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2


@dataclass(frozen=True)
class PlainFolder(Dataset[Any]):
    """Images and labels in CamVid's layout, cropped, flipped and jittered as far as AugmentConfig() has it."""

    root: Path
    names: tuple[str, ...]
    transform: Any

    @classmethod
    def of(cls, root: Path, size: tuple[int, int]) -> PlainFolder:
        names = tuple(sorted(path.name for path in (root / "train").glob("*.png")))
        crop = v2.RandomResizedCrop(size, (0.64, 1.0), (size[1] / size[0],) * 2, antialias=True)
        jitter = v2.ColorJitter(0.2, 0.2, 0.2)
        return cls(root, names, v2.Compose([crop, v2.RandomHorizontalFlip(), jitter]))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        name = self.names[index]
        image = tv_tensors.Image(Image.open(self.root / "train" / name).convert("RGB"))
        label = tv_tensors.Mask(Image.open(self.root / "trainannot" / name))
        return self.transform(image, label)


def endless(root: Path, size: tuple[int, int], batch: int, workers: int) -> Iterator[torch.Tensor]:
    """The images of one batch after another, epoch after epoch."""
    loader = DataLoader(
        PlainFolder.of(root, size), batch, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
    while True:
        for images, _ in loader:
            yield images
