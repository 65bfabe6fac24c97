"""Flipped bytes by the hundred, a full disk under workers, and every count of workers: the output is the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_work
from toy_run import run

from fastseg.verify import problems
from pipelines import fan_out

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_l6_single_flipped_bytes_are_all_found(tmp_path: Path, figures: dict[str, Any]) -> None:
    assert run(tmp_path, toy_work.plan(24, ("frame-004-nofloor",))) == 0
    before = {path: path.read_bytes() for path in sorted(tmp_path.glob("*/shard*"))}
    chance = random.Random(0)
    found = 0
    for _ in range(200):
        path = chance.choice(list(before))
        at, bit = chance.randrange(len(before[path])), 1 << chance.randrange(8)
        path.write_bytes(before[path][:at] + bytes([before[path][at] ^ bit]) + before[path][at + 1 :])
        found += problems(tmp_path) != []
        assert run(tmp_path, toy_work.plan(24, ("frame-004-nofloor",))) == 0
        assert {p: p.read_bytes() for p in before} == before
        figures |= {"flips found and made good": found}
    assert found == 200


def test_l10_workers_and_order_change_no_byte(
    tmp_path: Path, figures: dict[str, Any], monkeypatch: Any, capsys: Any
) -> None:
    special = ("frame-003-nofloor", "frame-040-segv", "frame-041-bug")
    plan = toy_work.plan(80, special)
    in_order = fan_out._jobs
    sums = []
    for workers, shuffled in ((1, False), (2, False), (4, False), (2, True)):
        out = tmp_path / f"{workers}-{shuffled}"

        def jobs(*args: Any, shuffled: bool = shuffled) -> Iterator[Any]:
            made = list(in_order(*args))
            if shuffled:
                random.Random(3).shuffle(made)
            return iter(made)

        monkeypatch.setattr(fan_out, "_jobs", jobs)
        assert run(out, plan, workers) == 0
        sums.append((out / "SHA256SUMS").read_bytes())
        figures |= {"runs": len(sums), "output(s)": len(set(sums))}
    assert len(set(sums)) == 1
    assert "no CPUs for more" not in capsys.readouterr().err, "each run has a Ray of its own, as large as it asks"
