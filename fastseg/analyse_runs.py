"""The trained networks of an analysis: a study's cells and runs by name, and what they wrote while training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.checkpoint import Checkpoint, CheckpointError, load
from fastseg.journal import records

Points = npt.NDArray[np.float64]
CELL = re.compile(r"(?P<name>.+)-(?P<images>\d+)-(?P<seed>\d+)")  # of fastseg.compare_study.cells
WINDOW = 40  # a curve of more points than this is a running mean over a fortieth of them


@dataclass(frozen=True)
class Trained:
    """A trained network.

    name     how it began: a study's variant, or what it was called
    images   labelled images that it was trained on; of a depth network all it saw
    seed     of its training
    path     its checkpoint
    """

    name: str
    images: int
    seed: int
    path: Path

    def checkpoint(self) -> Checkpoint:
        """Its weights and what they are."""
        return load(self.path)

    def points(self, key: str) -> Points:
        """(N, 2) steps and values of a figure in its metrics.jsonl, up to the checkpoint."""
        last = int(self.path.name.removeprefix("checkpoint-"))
        lines = [line for line in records(self.path.parent / "metrics.jsonl") if line["step"] <= last]
        found = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        return np.array(found, np.float64).reshape(-1, 2)


def study_runs(out: Path) -> list[Trained]:
    """The finished trainings of the study that `fastseg compare --out OUT` made, in its order of variants.

    ValueError: no study there, or none of its trainings is done.
    """
    cells = out / "cells"
    if not cells.is_dir():
        raise ValueError(
            f"{out}: expected the folder of a study, which `fastseg compare --out` writes, with its cells/"
        )
    found, waiting = [], []
    for folder in cells.iterdir():
        match = CELL.fullmatch(folder.name)
        if match is None:
            continue
        try:
            checkpoint = load(folder)
        except CheckpointError:
            waiting.append(folder.name)
            continue
        if checkpoint.record.step < int(checkpoint.record.config.get("steps", 0)):
            waiting.append(folder.name)
        else:
            found.append(Trained(match["name"], int(match["images"]), int(match["seed"]), checkpoint.path))
    if not found:
        raise ValueError(f"{out}: no training of the study is done yet")
    if waiting:
        print(f"left out, not done yet: {', '.join(sorted(waiting))}", flush=True)
    order = _order(out / "study.json")
    return sorted(found, key=lambda run: (order.get(run.name, len(order)), run.name, run.images, run.seed))


def named_runs(words: Iterable[str]) -> list[Trained]:
    """The runs that words `NAME=FOLDER` or `FOLDER` name: a run's folder (its last good checkpoint) or a checkpoint's.

    ValueError: no checkpoint there.
    """
    found = []
    for word in words:
        name, equals, folder = word.partition("=")
        path = Path(folder if equals else word)
        checkpoint = load(path)
        out = checkpoint.path.parent
        seed = int(checkpoint.record.config.get("seed", 0))
        found.append(Trained(name if equals else out.name, _images(out), seed, checkpoint.path))
    return found


def grouped(runs: Sequence[Trained]) -> dict[tuple[str, int], list[Trained]]:
    """The runs by name and number of images, their seeds together, in the order that they came in."""
    groups: dict[tuple[str, int], list[Trained]] = {}
    for run in runs:
        groups.setdefault((run.name, run.images), []).append(run)
    return groups


def mean_curve(curves: Sequence[Points]) -> tuple[Points, Points | None]:
    """The mean (N, 2) of curves at the steps that all of them have, and their deviation (N,); None for one curve."""
    kept = [curve for curve in curves if len(curve)]
    if not kept:
        return np.empty((0, 2)), None
    steps = sorted(set.intersection(*({float(step) for step in curve[:, 0]} for curve in kept)))
    values = np.array([[dict(curve.tolist())[step] for step in steps] for curve in kept]).reshape(len(kept), -1)
    points = np.stack([np.array(steps), values.mean(0)], 1)
    return points, values.std(0, ddof=1) if len(kept) > 1 else None


def smoothed(curve: Points) -> Points:
    """A curve (N, k) of many points as the running mean over a fortieth of them; one of few as it is."""
    width = len(curve) // WINDOW
    if width < 2:
        return curve
    means = [np.convolve(column, np.full(width, 1 / width), "valid") for column in curve.T]
    return np.stack(means, 1)


def _order(path: Path) -> dict[str, int]:
    """The places of a study's variants; {} where it has not been reported."""
    if not path.is_file():
        return {}
    try:
        protocol: Mapping[str, Any] = json.loads(path.read_text("utf-8"))["protocol"]
        return {each["name"]: place for place, each in enumerate(protocol["variants"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected what `fastseg compare` writes ({error})") from error


def _images(out: Path) -> int:
    """The images that a run counted, 0 where that is not written."""
    try:
        return int(json.loads((out / "data.json").read_text("utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0
