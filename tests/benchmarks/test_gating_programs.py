from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.device_gating_head import agreement, moved
from benchmarks.gating_head import CASES, contestants, difference, made, peaks
from benchmarks.gating_head import Config as HeadConfig
from benchmarks.gating_office import Config as OfficeConfig
from benchmarks.gating_office import frames
from benchmarks.gating_rooms import VARIANTS, Config, method, steps_of, summary
from benchmarks.timing import OURS
from fastseg.data.sources import open_labelled

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("head")])
def test_the_heads_contestants_agree(name: str) -> None:
    calls = contestants(name, made(name, 16, 9, (64, 64)))
    ours = calls.pop(OURS)()
    assert len(calls) == (2 if name == "head training" else 3)
    for call in calls.values():
        assert max(difference(*pair) for pair in zip(ours, call(), strict=True)) < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
def test_a_head_that_learns_needs_at_most_a_third_of_the_dense_branches_memory() -> None:
    found = peaks("head training", [OURS, "dense_eager"], HeadConfig(), (64, 64))
    print(found)
    assert 3 * found[OURS]["peak_mb"] <= found["dense_eager"]["peak_mb"]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("head")])
def test_the_heads_gpu_cases_agree_in_half_precision(name: str) -> None:
    case = moved(made(name, 16, 9, (64, 64)), "cpu")
    assert 0 < agreement(name, case, "cpu") < 0.03


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
    config = Config(tmp_path, begin=400, steps=75)
    names = {name: method(config, name, 0).network_name().partition("/")[0] for name in VARIANTS}
    assert names["gt_tied"] == "gated-ground_truth-tied-w64-d4.3.2.1"
    assert names["loop2"] == "gated-predicted-loops2-w64-d4.3.2.1"
    assert steps_of(config, "baseline") == steps_of(config, "gated_predicted") == 475
    assert steps_of(config, "loop2") == 625


def test_a_scan_is_split_by_time_and_keeps_the_classes_that_occur(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    for folder, pixels in (("rgb", np.zeros((340, 600, 3), np.uint8)), ("depth", np.full((340, 600), 1500, np.uint16))):
        (scene / folder).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(pixels).save(scene / folder / f"{number:04d}.png")
    (scene / "class").mkdir()
    for number in range(5):
        Image.fromarray(np.full((340, 600), 3 * (number % 2), np.uint8)).save(scene / "class" / f"{number:04d}.png")
    (scene / "classes.tsv").write_text("class_id\tname\n0\tnone\n1\ta\n2\tb\n3\tc\n")
    with pytest.raises(ValueError, match="expected 76 labelled frames; got 5"):
        frames(OfficeConfig(scene, tmp_path / "runs"))
    root = frames(OfficeConfig(scene, tmp_path / "runs", train=3, test=2))
    ours = open_labelled("folder", root, "test")
    assert ours.ids() == ["0003", "0004"] and list(ours.class_names) == ["c"]
    assert [int(ours[index][1][0, 0]) for index in range(2)] == [0, 255]
    depth = ours.depth(0)  # type: ignore[attr-defined]
    assert depth.shape == (340, 600) and depth[0, 0] == pytest.approx(1.5)
