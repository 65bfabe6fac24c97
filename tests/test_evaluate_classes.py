"""Whole images named by a network of pixels: the mean of its probabilities, background left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fastseg.data.augment import IMAGENET
from fastseg.data.image_folder import ImageFolder
from fastseg.evaluate import cli as evaluate
from fastseg.evaluate_classes import ranked
from fastseg.train import cli as train

pytestmark = pytest.mark.torch
NETWORK = "linknet/mobilenetv3_small_050"
FLAGS = ["--network", NETWORK, "--size", "32x32", "--batch", "2", "--steps", "2", "--loop.device", "cpu",
         "--loop.workers", "0", "--loop.threads", "1"]  # fmt: skip


class Told(nn.Module):
    """Logits that are the same for every image: a few pixels sure of class 1, most a little for class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        found = torch.zeros(len(images), 3, *images.shape[2:])
        found[:, 0], found[:, 2] = 0.2, 5.0  # the last is background, everywhere the likeliest
        found[:, 1, :, :2] = 12.0
        return found * self.scale


def folder(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (24, 40, 3), np.uint8)
        Image.fromarray(values).save(root / f"{name}.png")
    return root


def test_the_mean_over_the_pixels_decides_and_background_is_no_answer(tmp_path: Path) -> None:
    examples = ImageFolder(folder(tmp_path, "val/a/1", "val/b/2", "val/b/3"), "val")
    everything: tuple[Any, ...] = ((16, 16), IMAGENET, 2)
    assert ranked(Told(), examples, [0, 1], [0, 1], *everything).tolist() == [2, 3, 3]
    assert ranked(Told(), examples, [0, 1], [0, 1, 2], *everything).tolist() == [0, 3, 3]


def test_a_network_trained_on_published_masks_names_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "pictures", "train/cat/1", "train/dog/2", "val/cat/3", "val/dog/4", "val/dog/5")
    for name in ("1", "2"):
        np.savez(tmp_path / f"{name}_eiseg.npz", np.eye(24, 40, dtype=np.uint8))
    words = ["pssl", "--root", str(tmp_path), "--pictures", str(root / "train"), "--out", str(tmp_path / "run")]
    assert train([*words, *FLAGS]) == 0
    common = ["--data", "imagefolder", "--root", str(root), "--device", "cpu", "--threads", "1"]
    scores = tmp_path / "scores.json"
    assert evaluate(["--checkpoint", str(tmp_path / "run"), *common, "--json", str(scores)]) == 0
    found = json.loads(scores.read_text())
    assert "3 images: top-1" in capsys.readouterr().out
    assert found["top5"] == 1.0 and found["top1"] in (0.0, 1 / 3, 2 / 3, 1.0) and found["protocol"]["images"] == 3
    assert evaluate(["--checkpoint", str(tmp_path / "run"), *common, "--views.flip", "true"]) == 2
    assert "are for pixels" in capsys.readouterr().err
    folder(root, "train/owl/6", "val/owl/7")
    assert evaluate(["--checkpoint", str(tmp_path / "run"), *common]) == 2
    assert "knows 1 of" in capsys.readouterr().err


def test_a_classifier_is_scored_too(tmp_path: Path) -> None:
    root = folder(tmp_path / "pictures", "train/cat/1", "train/dog/2", "val/cat/3")
    words = ["classify", "--data", "imagefolder", "--root", str(root), "--out", str(tmp_path / "run"), *FLAGS]
    assert train(words) == 0
    common = ["--data", "imagefolder", "--root", str(root), "--device", "cpu", "--threads", "1"]
    assert evaluate(["--checkpoint", str(tmp_path / "run"), *common]) == 0
