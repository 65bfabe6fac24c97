from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gating_head import CASES, contestants, difference, made
from benchmarks.gating_rooms import VARIANTS, Config, method, steps_of, summary
from benchmarks.timing import OURS

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("head")])
def test_the_heads_contestants_agree(name: str) -> None:
    calls = contestants(name, made(name, 16, 9, (64, 64)))
    ours = calls.pop(OURS)()
    assert len(calls) == (2 if name == "head training" else 3)
    for call in calls.values():
        assert max(difference(*pair) for pair in zip(ours, call(), strict=True)) < 1e-4


def _found(*gains: float) -> list[dict[str, Any]]:
    """One seed a gain over a baseline of 0.5, all of it in the nearest of two bins; nothing is in a third."""
    return [
        {"miou": 0.5 + gain, "distances": [{"miou": 0.4 + 2 * gain}, {"miou": 0.6}, None]} for gain in gains
    ]  # fmt: skip


def test_the_study_says_whether_the_papers_order_holds() -> None:
    results = {name: _found(0.01 * place, 0.01 * place + 0.02) for place, name in enumerate(VARIANTS)}
    results["baseline"] = _found(0.0, 0.0)
    found = summary(results)
    assert found["order_holds"] and len(found["order"]) == 7
    assert found["miou"]["loop2"] == pytest.approx(0.58) and found["deviation"]["loop2"] == pytest.approx(
        0.02**0.5 / 10
    )
    near, far, none = found["gain_by_distance"]["loop2"]
    assert (near, far, none) == (pytest.approx(0.16), 0.0, None)
    results["loop1"] = _found(-0.1, -0.1)
    assert not summary(results)["order"]["gated_predicted < loop1"]


def test_every_variant_is_one_stage_after_another(tmp_path: Path) -> None:
    config = Config(tmp_path)
    names = {}
    for name, (gate, stage, _) in VARIANTS.items():
        names[name] = method(config, gate, stage, tmp_path / name, 0).network_name().partition("/")[0]
    assert names["gt_tied"] == "gated-ground_truth-tied-w64" and names["loop2"] == "gated-predicted-loops2-w64"
    assert steps_of(config, "baseline") == steps_of(config, "gated_predicted") == 1000
    assert steps_of(config, "loop2") == 2000
