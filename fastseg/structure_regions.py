"""Nearest regions in bottleneck space (label-structure paper, Figure 7): which other places look like this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastseg.structure_looks import Labels, Seen

CELL = 16


@dataclass(frozen=True)
class Region:
    """A bottleneck's cell (row, column) of the example number `at`, and how alike it is to the query, 1 = the same."""

    at: int
    row: int
    column: int
    alike: float = 1.0


class Regions:
    """The cells of many examples that are mostly labelled, by their bottleneck's direction."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        self.places: list[tuple[int, int, int]] = []
        rows: list[npt.NDArray[np.float32]] = []
        for at, each in enumerate(seen):
            for row, column in np.argwhere(labelled(each.label, each.bottleneck.shape[1:])).tolist():
                self.places.append((at, row, column))
                rows.append(each.bottleneck[:, row, column])
        if not rows:
            raise ValueError("no region of these maps is labelled: there is nothing to search")
        self._directions = unit(np.stack(rows))

    def nearest(self, feature: npt.NDArray[np.float32], count: int) -> list[Region]:
        """The `count` regions whose direction is closest (cosine), each of another example."""
        alike = self._directions @ unit(feature[None])[0]
        found: dict[int, Region] = {}
        for index in np.argsort(-alike, kind="stable"):
            at, row, column = self.places[index]
            found.setdefault(at, Region(at, row, column, float(alike[index])))
            if len(found) == count:
                break
        return list(found.values())


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows (N, C) of length 1; those of no length stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), np.float32)


def labelled(label: Labels, cells: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Where at least half of a cell's pixels have a label."""
    return np.asarray((in_cells(label, cells) != 255).mean((2, 3)) >= 0.5)


def query(seen: Seen, random: np.random.Generator) -> Region | None:
    """A cell to ask for, drawn among those where classes meet (any labelled one, where none do); None of a void map."""
    cells = seen.bottleneck.shape[1:]
    parts, known = in_cells(seen.label, cells), labelled(seen.label, cells)
    meet = known & (parts.min((2, 3)) != np.where(parts == 255, 0, parts).max((2, 3)))
    choice = np.argwhere(meet if meet.any() else known)
    if not len(choice):
        return None
    row, column = choice[random.integers(len(choice))].tolist()
    return Region(0, row, column)


def in_cells(label: Labels, cells: tuple[int, ...]) -> Labels:
    """(h, w, 16, 16) of a label map (H, W), what lies beyond its edge void (255)."""
    height, width = cells
    padded = np.full((height * CELL, width * CELL), 255, np.uint8)
    kept = label[: height * CELL, : width * CELL]
    padded[: kept.shape[0], : kept.shape[1]] = kept
    return padded.reshape(height, CELL, width, CELL).swapaxes(1, 2)
