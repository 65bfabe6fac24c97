"""The training step's benchmark at a tiny size: the same losses whoever finds the photometric error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.timing import OURS
from benchmarks.train_photometric import Config, apart, compares, main, times
from benchmarks.train_photometric_curves import Config as CurvesConfig
from benchmarks.train_photometric_curves import main as draw_curves

pytestmark = pytest.mark.torch
TINY = "skip/mobilenetv3_small_050"


def test_the_same_step_has_the_same_loss() -> None:
    seconds, first = times(Config(TINY, "32x64", 2, rounds=1, contestants=(OURS, "eager")))
    assert {name: len(each) for name, each in seconds.items()} == {OURS: 1, "eager": 1}
    assert first[OURS] > 0 and apart(first) <= 1e-4


def test_losses_that_differ_end_the_benchmark() -> None:
    with pytest.raises(ValueError, match=r"losses must agree to 0\.0001"):
        apart({OURS: 0.1, "eager": 0.1001})
    with pytest.raises(ValueError, match="contestants must hold fastseg"):
        Config(contestants=("eager",))
    with pytest.raises(ValueError, match="contestants are fastseg, eager, compile; got kornia"):
        compares(["kornia"])


@pytest.mark.slow
def test_the_program_writes_what_it_measured(tmp_path: Path) -> None:
    assert main(Config(TINY, "32x64", 2, rounds=1, contestants=(OURS, "eager"), out=tmp_path)) == 0
    (path,) = tmp_path.glob("train_photometric-*.json")
    found = json.loads(path.read_text())["result"]
    assert found["peak_mb"][OURS] > 100 and found["time_ratio"][OURS] == 1 and found["reached"]


def test_two_curves_begin_together(tmp_path: Path) -> None:
    assert draw_curves(CurvesConfig(TINY, "32x64", 1, steps=3, views=14, out=tmp_path)) == 0
    (path,) = tmp_path.glob("train_photometric_curves-*.json")
    found = json.loads(path.read_text())["result"]
    assert found["apart_first"] <= 1e-4 and [len(each) for each in found["loss"].values()] == [3, 3]
