"""A set of coloured squares that a small network learns in seconds, and the run that trains on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.checkpoint import load
from fastseg.methods import LoopConfig
from fastseg.methods.segment import Segment

NETWORK = "linknet/mobilenetv3_small_050"
LOOP = LoopConfig(device="cpu", workers=0, threads=1, save_every=3, log_every=1)


class Squares:
    """Images of coloured squares on grey; a square's class is its colour."""

    class_names = ("ground", "red", "green")

    def __init__(self, count: int = 8, value: int | None = None) -> None:
        self.count, self.value = count, value

    def ids(self) -> list[str]:
        return [f"squares/{index}" for index in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        random = np.random.default_rng(index)
        image = random.integers(90, 110, (64, 64, 3), dtype=np.uint8)
        label = np.zeros((64, 64), np.uint8)
        for kind in (1, 2):
            top, left = random.integers(0, 40, 2)
            label[top : top + 20, left : left + 20] = kind
            image[top : top + 20, left : left + 20] = np.eye(3)[kind - 1] * 220
        return image, label if self.value is None else np.full_like(label, self.value)


def run_of(out: Path, kind: type[Segment] = Segment, **changed: object) -> Segment:
    """Six steps of two squares each, but for what is changed."""
    fixed = {"data": "folder", "root": Path("nowhere"), "network": NETWORK, "size": "32x32", "batch": 2, "steps": 6}
    return kind(**{**fixed, "out": out, "loop": LOOP, **changed})  # type: ignore[arg-type]


def lines(out: Path) -> list[dict[str, float]]:
    """What a run wrote for each step, but for its speed."""
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in ("step", "epoch", "loss", "grad_norm", "lr")} for line in found]


def digest(out: Path) -> str:
    """The SHA-256 of a run's last weights and training state."""
    found = load(out, state=True)
    whole = hashlib.sha256()
    for part in (found.weights, found.state):
        for name in sorted(part):
            whole.update(name.encode() + part[name].numpy().tobytes())
    return whole.hexdigest()
