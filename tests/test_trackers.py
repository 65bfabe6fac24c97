"""Figures beside metrics.jsonl: TensorBoard's own files, stand-ins for W&B and MLflow, and none installed."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fastseg.cli import run
from fastseg.journal import Journal
from fastseg.methods.segment import Segment
from fastseg.same_config import flat
from fastseg.trackers import tracking
from fastseg.train import fit
from tests.squares import LOOP, Squares, run_of

pytestmark = pytest.mark.torch
FIGURES: list[dict[str, Any]] = [
    {"step": 1, "epoch": 0, "loss": 0.5},
    {"step": 2, "epoch": 0, "loss": math.nan},
    {"step": 2, "epoch": 0, "miou": 0.25},
]
TOLD = [(1, {"epoch": 0, "loss": 0.5}), (2, {"epoch": 0}), (2, {"epoch": 0, "miou": 0.25})]
CONFIG = {"optim": {"lr": 0.1}, "steps": 2}


def _train(kind: str, out: Path) -> None:
    with tracking(kind, out, CONFIG, 0) as tracker, Journal(out / "metrics.jsonl", 0, 2, "segment", tracker) as journal:
        for record in FIGURES:
            journal.write(record)


class WandB(ModuleType):
    """What fastseg uses of wandb."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.options: dict[str, Any] = {}
        self.told: list[tuple[int, dict[str, float]]] = []
        self.ended = False

    def init(self, **options: Any) -> WandB:
        self.options = options
        return self

    def log(self, figures: dict[str, float], step: int) -> None:
        self.told.append((step, figures))

    def finish(self) -> None:
        self.ended = True


class MLflow(ModuleType):
    """What fastseg uses of mlflow."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.place, self.ended = "", False
        self.told: list[tuple[str, str, float, int]] = []
        self.parameters: dict[str, Any] = {}

    def MlflowClient(self, tracking_uri: str) -> MLflow:  # noqa: N802
        self.place = tracking_uri
        return self

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return f"of {name}"

    def create_run(self, experiment: str, run_name: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{run_name} {experiment}"))

    def log_param(self, at: str, name: str, value: Any) -> None:
        self.parameters[name] = value

    def log_metric(self, at: str, name: str, value: float, step: int) -> None:
        self.told.append((at, name, value, step))

    def set_terminated(self, at: str) -> None:
        self.ended = True


def test_wandb_hears_the_finite_figures_and_stays_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = WandB()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("WANDB_MODE", "WANDB_ERROR_REPORTING", "WANDB_SILENT", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    _train("wandb", tmp_path)
    assert wandb.told == TOLD and wandb.ended
    assert wandb.options["mode"] == "offline" and wandb.options["config"] == CONFIG
    assert wandb.options["dir"] == str(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")
    _train("wandb", tmp_path)
    assert wandb.options["mode"] == "online"


def test_mlflow_hears_them_in_a_folder_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    _train("mlflow", tmp_path)
    at = f"{tmp_path.name} of fastseg"
    assert mlflow.told == [(at, name, value, step) for step, each in TOLD for name, value in each.items()]
    assert mlflow.place == (tmp_path / "mlruns").as_uri() and mlflow.ended
    assert mlflow.parameters == {"optim.lr": 0.1, "steps": 2} == flat(CONFIG)


def test_tensorboard_writes_event_files(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _train("tensorboard", tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("miou")] == [(2, 0.25)]


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    for name in (kind, "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    method = run_of(tmp_path / "out", loop=replace(LOOP, track=kind))  # type: ignore[arg-type]
    flags = ["--data", "folder", "--root", str(tmp_path), "--out", str(tmp_path)]
    assert run(Segment, lambda config: fit(method, Squares()), flags) == 2
    said = capsys.readouterr().err.strip()
    assert f"loop.track {kind} needs the package {kind}: pip install {kind}" in said and "\n" not in said
    assert not (tmp_path / "out").exists()


def test_a_run_tells_its_tracker_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = WandB()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    method = run_of(tmp_path, steps=2, loop=replace(LOOP, track="wandb", eval_every=2))
    assert fit(method, Squares(), Squares()) == 0
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [{"step": step, **figures} for step, figures in wandb.told] == written
    assert {"loss", "images_per_s", "data_wait", "peak_memory_mb"} <= set(written[0])
    assert 50 < written[0]["peak_memory_mb"] < 50_000 and 0 <= written[0]["data_wait"] <= 1
    assert wandb.options["config"]["optim"]["lr"] == method.optim.lr
