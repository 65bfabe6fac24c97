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

    def bins(gain: float) -> list[dict[str, Any] | None]:
        near = [{"class": "bed", "iou": 0.4 + 2 * gain}, {"class": "lamp", "iou": None}]
        far = [{"class": "bed", "iou": None}, {"class": "lamp", "iou": 0.6}]
        return [{"miou": 0.4 + 2 * gain, "per_class": near}, {"miou": 0.6, "per_class": far}, None]

    names = [{"class": "bed"}, {"class": "lamp"}, {"class": "sofa"}]
    return [{"miou": 0.5 + gain, "distances": bins(gain), "per_class": names} for gain in gains]


def test_the_study_says_whether_the_papers_order_holds() -> None:
    results = {name: _found(0.01 * place, 0.01 * place + 0.02) for place, name in enumerate(VARIANTS)}
    results["baseline"] = _found(0.0, 0.0)
    found = summary(results)
    assert found["order_holds"] and len(found["order"]) == 7 and set(found["order_in_seeds"].values()) == {2}
    assert found["miou"]["loop2"] == pytest.approx(0.58)
    assert found["deviation"]["loop2"] == pytest.approx(0.02**0.5 / 10)
    gains = found["gain_by_distance"]["loop2"]
    assert gains["all"] == [pytest.approx(0.16), 0.0, None] and gains["bed"] == [pytest.approx(0.16), None, None]
    assert gains["lamp"] == [None, 0.0, None] and "sofa" not in gains
    results["loop1"] = _found(-0.1, -0.1)
    found = summary(results)
    assert not found["order"]["gated_predicted < loop1"] and found["order_in_seeds"]["gated_predicted < loop1"] == 0


def test_every_variant_is_one_stage_after_another(tmp_path: Path) -> None:
    config = Config(tmp_path)
    names = {name: method(config, name, 0).network_name().partition("/")[0] for name in VARIANTS}
    assert names["gt_tied"] == "gated-ground_truth-tied-w64-d4.3.2.1"
    assert names["loop2"] == "gated-predicted-loops2-w64-d4.3.2.1"
    assert steps_of(config, "baseline") == steps_of(config, "gated_predicted") == 550
    assert steps_of(config, "loop2") == 850
