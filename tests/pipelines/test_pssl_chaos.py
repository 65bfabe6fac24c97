"""Two thousand small pictures, workers killed as they go, files that cannot be read: every picture has its row."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_make_pssl_labels import CLASSES, config, digests, encoded, folder, models, noise
from toy_pssl import Logged
from toy_run import killer, rows

from fastseg.verify import problems
from pipelines import make_pssl_labels

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(3000)]
__all__ = ["models"]  # the fixture
PICTURES, KILLS = 2000, 6


def test_two_thousand_pictures_with_kills_and_corrupt_files(
    ray_log: Path, models: Path, tmp_path: Path, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_pssl_labels, "LabelPictures", Logged)
    good = {f"{CLASSES[i % 3]}/{i:05}.jpg": encoded(noise(i, (24, 24))) for i in range(PICTURES)}
    bad = {f"dog/bad-{i}.jpg": encoded(noise(i, (64, 64)))[: 100 + 50 * i] for i in range(10)}
    one = config(folder(tmp_path / "in", good | bad), models, tmp_path / "out", workers=2)
    one = replace(one, pssl=replace(one.pssl, samples=1, pass_size=1))
    one = replace(one, tuning=replace(one.tuning, shard_size=50, batch=10, worker_mb=500))
    until, dead = threading.Event(), list[int]()
    thread = killer(ray_log, 10.0, KILLS, dead, until)
    assert make_pssl_labels.main(one) == 0
    until.set()
    thread.join()
    rejected = Counter(row["reason"] for row in rows(tmp_path / "out", "rejected"))
    figures |= {"kills": len(dead), "rows": len(rows(tmp_path / "out")), "rejected": dict(rejected)}
    assert problems(tmp_path / "out") == [] and rejected == {"decode": 10}
    assert len(rows(tmp_path / "out")) == PICTURES and len(dead) >= 3
    assert make_pssl_labels.main(replace(one, out=str(tmp_path / "quiet"), workers=0)) == 0
    assert digests(tmp_path / "quiet") == digests(tmp_path / "out")
