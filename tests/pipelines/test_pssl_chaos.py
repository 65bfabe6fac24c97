"""Two thousand small pictures, workers killed as they go, files that cannot be read: every picture has its row."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_make_pssl_labels import CLASSES, config, digests, encoded, folder, models, noise
from toy_pssl import Logged
from toy_run import rows

from fastseg.verify import problems
from pipelines import make_pssl_labels

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(3000)]
__all__ = ["models"]  # the fixture
PICTURES, KILLS, EVERY = 2000, 6, 250


def killer(log: Path, dead: list[int], until: threading.Event) -> threading.Thread:
    """A thread that ends the worker that read last by `kill -9`, each time that some more pictures were read.

    By pictures and not by the clock: a worker takes seconds to load its networks, on a busy machine many of them, and
    workers that are killed as often as they begin come to no end.
    """

    def work() -> None:
        while len(dead) < KILLS and not until.wait(0.1):
            lines = log.read_text().splitlines()
            if len(lines) >= EVERY * (len(dead) + 1) and (pid := int(lines[-1].split()[0])) not in dead:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
                    dead.append(pid)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_two_thousand_pictures_with_kills_and_corrupt_files(
    ray_log: Path, models: Path, tmp_path: Path, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_pssl_labels, "LabelPictures", Logged)
    good = {f"{CLASSES[i % 3]}/{i:05}.jpg": encoded(noise(i, (24, 24))) for i in range(PICTURES)}
    bad = {f"dog/bad-{i}.jpg": encoded(noise(i, (64, 64)))[: 100 + 50 * i] for i in range(10)}
    one = config(folder(tmp_path / "in", good | bad), models, tmp_path / "out", workers=2)
    one = replace(one, pssl=replace(one.pssl, samples=1, pass_size=10))
    one = replace(one, tuning=replace(one.tuning, shard_size=50, batch=10, worker_mb=500))
    until, dead = threading.Event(), list[int]()
    thread = killer(ray_log, dead, until)
    try:
        assert make_pssl_labels.main(one) == 0
    finally:
        until.set()
        thread.join()
    rejected = Counter(row["reason"] for row in rows(tmp_path / "out", "rejected"))
    figures |= {"kills": len(dead), "rows": len(rows(tmp_path / "out")), "rejected": dict(rejected)}
    assert len(dead) == KILLS and rejected == {"decode": 10} and len(rows(tmp_path / "out")) == PICTURES
    assert problems(tmp_path / "out") == []
    assert make_pssl_labels.main(replace(one, out=str(tmp_path / "quiet"), workers=0)) == 0
    assert digests(tmp_path / "quiet") == digests(tmp_path / "out")
