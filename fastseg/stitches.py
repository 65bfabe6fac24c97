"""How much a cross-stitched network takes from the fixed encoder at each pooling, over a run: OUT/stitches.svg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.charts import Curve, alone, curves
from fastseg.journal import records

COLOURS = ("#3366aa", "#cc6633", "#339966", "#993377")
TITLE = "Weight of the fixed encoder at each pooling: mean over the channels, and its spread"


def read_shares(journal: Path) -> dict[int, npt.NDArray[np.float64]]:
    """{pooling, from 1: (N, 3) of step, mean and standard deviation of a_h} of a run's metrics.jsonl, steps rising."""
    found: dict[int, list[tuple[float, float, float]]] = {}
    for values in records(journal):
        pooling = 1
        while f"a_h_{pooling}" in values:
            row = (values["step"], values[f"a_h_{pooling}"], values[f"a_h_{pooling}_std"])
            found.setdefault(pooling, []).append(row)
            pooling += 1
    return {pooling: np.array(rows, np.float64) for pooling, rows in found.items()}


def draw_stitches(out: Path) -> Path | None:
    """OUT/stitches.svg drawn from OUT/metrics.jsonl; None where the run has no cross-stitch."""
    shares = read_shares(out / "metrics.jsonl")
    if not shares:
        return None
    lines = [
        Curve(f"pooling {pooling}", colour, rows[:, :2], spread=rows[:, 2])
        for (pooling, rows), colour in zip(shares.items(), COLOURS, strict=False)
    ]
    path = out / "stitches.svg"
    path.write_text(alone(curves(lines, TITLE, "step", "")), encoding="utf-8")
    return path
