"""The loader's benchmark runs from end to end on a few images, and its loop knows waiting from working."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest

from benchmarks.bench_loader import PEER, Config, main, synthesise, wait_share
from benchmarks.rows import OURS

pytestmark = pytest.mark.torch


@pytest.mark.slow
def test_a_small_run_writes_a_row_a_contestant_and_number_of_workers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    before = set(active_children())
    settings = Config(images=5, batches=1, workers=(0, 1), step_ms=1.0, steps=1, repeats=1, budget_s=0.1, json=path)
    assert main(settings) == 0
    rows = json.loads(path.read_text())["rows"]
    raced = {(row["case"], row["impl"]) for row in rows if "images_per_s" in row["extra"]}
    assert raced == {(f"{workers} workers", impl) for workers in (0, 1) for impl in (OURS, PEER)}
    assert {"decode", "with depth", OURS} <= {row["impl"] for row in rows if row["case"] == "parts, one image"}
    assert set(active_children()) == before


def test_the_images_are_read_as_camvid(tmp_path: Path) -> None:
    from fastseg.data.camvid import CamVid

    found = CamVid(synthesise(tmp_path / "camvid", 2), "train")
    image, label = found[1]
    assert len(found) == 2 and image.shape == (360, 480, 3) and set(label.flat) <= {*range(11), 255}


def test_a_loop_that_waits_as_long_as_it_works_waits_half_the_time() -> None:
    def slow() -> Iterator[object]:
        while True:
            time.sleep(0.05)
            yield None

    assert 0.3 < wait_share(slow(), 6, 0.05) < 0.8
