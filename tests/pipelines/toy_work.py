"""A toy work function for the pipeline's tests: what becomes of a frame is written in its id."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.frames import FrameError
from pipelines import fan_out, ledger
from pipelines.one_shard import Clock

HN = {"n_height": 3, "n_normal": 2, "height_edges": [0.5, 1.0]}


def work(frame_id: str, clock: Clock) -> dict[str, Any]:
    """A label made of the id; `nofloor`, `bug`, `crash`, `hang` in the id do what they say."""
    if "nofloor" in frame_id:
        raise FrameError("no-floor", "no floor in view", 0.25)
    if "bug" in frame_id:
        raise KeyError("surprise\nsecond line")
    if "crash" in frame_id:
        os._exit(9)
    if "hang" in frame_id:
        time.sleep(60)
    with clock("label"):
        label = np.random.default_rng(sum(frame_id.encode())).integers(0, 6, (6, 8)).astype(np.uint8)
    figures = {"floor_m": -1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    bins = np.bincount(label.ravel(), minlength=6).tolist()
    sizes = {"height": 6, "width": 8, "up": [0.0, -1.0, 0.0], "bins": bins}
    return {"id": frame_id, "image": b"colour", "label": label.tobytes()} | sizes | figures


def plan(count: int = 20, special: tuple[str, ...] = (), stamp: str = "1", **config: Any) -> ledger.Plan:
    """`count` plain ids and the special ones, eight a shard."""
    ids = tuple(sorted([*(f"frame-{i:03}" for i in range(count)), *special]))
    return ledger.Plan(ids, (stamp,) * len(ids), {"n_height": 3} | config, "1.0", {"hn": HN}, shard_size=8)


def kill_at_rename(number: int) -> None:
    """Make the process die (as by `kill -9`) just before its rename of that number."""
    replace = os.replace
    seen = [0]

    def fatal(*args: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), 9)
        replace(*args)

    setattr(os, "replace", fatal)  # noqa: B010 - typed as a replacement of the real one otherwise


if __name__ == "__main__":
    kill_at_rename(int(sys.argv[2]))
    sys.exit(fan_out.fan_out(plan(), work, Path(sys.argv[1]), workers=0))
