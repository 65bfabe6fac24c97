"""What one pass of a gated network is worth: classes, by distance too, depth bins, depth, shares of the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseg.metrics import as_json, confusion, scores
from fastseg.metrics_depth import DepthSums

if TYPE_CHECKING:
    from fastseg.gates import Seen, Truth

NONE = 255


class Tally:
    """Sums over a set's images.

    classes   of the segmentation; bins of depth, nearest first
    """

    def __init__(self, classes: int, bins: int) -> None:
        self.classes, self.bins = classes, bins
        self.counts = np.zeros((classes, classes), np.int64)
        self.by_bin = np.zeros((bins, classes, classes), np.int64)
        self.gate, self.pixels = np.zeros(1), 0
        self.right, self.measured = 0, 0
        self.depth, self.distances = DepthSums(), False

    def add(self, truth: Truth, seen: Seen) -> None:
        """Count one image. ValueError: a label that is none."""
        self.counts += confusion(truth.label, seen.classes, self.classes)
        self.gate = self.gate + seen.gate.sum((1, 2))
        self.pixels += seen.gate[0].size
        if truth.bins is not None:
            self.distances = True
            for number in range(self.bins):
                there = np.where(truth.bins == number, truth.label, NONE).astype(truth.label.dtype)
                self.by_bin[number] += confusion(there, seen.classes, self.classes)
        if truth.grid is not None and seen.bins is not None:
            kept = truth.grid != NONE
            self.measured += int(kept.sum())
            self.right += int((seen.bins == truth.grid)[kept].sum())
        if truth.depth is not None and seen.depth is not None:
            self.depth.add(truth.depth, seen.depth)

    def as_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """miou, global_accuracy, ..., gates; where they were predicted and measured bin_accuracy, depth, distances."""
        found = {**as_json(scores(self.counts), class_names), "gates": (self.gate / max(self.pixels, 1)).tolist()}
        if self.measured:
            found["bin_accuracy"] = self.right / self.measured
        if any(each is not None for each in self.depth.images):
            found["depth"] = asdict(self.depth.scores())
        if self.distances:
            found["distances"] = [
                as_json(scores(counts), class_names) if counts.any() else None for counts in self.by_bin
            ]
        return found
