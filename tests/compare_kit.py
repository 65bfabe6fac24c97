"""A small study, and the images that it is on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

STUDY: dict[str, Any] = {
    "name": "few",
    "seeds": [3, 5],
    "counts": [2],
    "fractions": [1.0],
    "segment": {
        "data": "folder", "network": "linknet/mobilenetv3_small_050", "size": "32x32", "steps": 4, "batch": 2,
        "loop": {"eval_every": 2, "workers": 0},
    },
    "pretrain": [{"name": "hn", "labels": [{"reader": "rooms", "root": "r"}], "fields": {"steps": 3}}],
    "variants": [
        {"name": "scratch"},
        {"name": "frozen", "init": "pretrain:hn", "transfer": {"freeze": 2}, "fields": {"optim": {"lr": 0.5}}},
    ],
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images to train on and two to score, in the `folder` layout; class 1 is red."""
    folder = tmp_path / "few"
    for index in range(6):
        label = np.zeros((32, 32), np.uint8)
        label[4 * index :, 8:] = 1
        color = np.where(label[..., None] == 1, (200, 30, 30), (60, 60, 60)).astype(np.uint8)
        for kind, pixels in (("color", color), ("labels", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"{index}.png")
    (folder / "classes.txt").write_text("grey\nred\n")
    (folder / "train.txt").write_text("0\n1\n2\n3\n")
    (folder / "val.txt").write_text("4\n5\n")
    return folder


def values(root: Path, change: Callable[[Any], object] = lambda _: None) -> dict[str, Any]:
    values = copy.deepcopy(STUDY)
    values["segment"]["root"] = str(root)
    change(values)
    return values
