"""Training over Ray Train: the figures of one process, a restart when a worker dies, one sentence for mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from fastseg.methods.gating import DepthGating, GateConfig
from fastseg.methods.segment import Segment
from pipelines import ray_session, train_on_ray
from pipelines.train_on_ray import MISTAKE, RUN, OnRay, Outcome, _placed, divided, main

pytest.importorskip("ray", reason="training over Ray needs the extra `ray`")
pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[2]
MARK = "FASTSEG_TEST_RUN"  # inherited by the workers of a Ray that a test started, and by no other's
NETWORK = "unet/resnet10t"  # no dropout: its masks would be each worker's


def _command(out: Path, *words: str, program: str = "pipelines.train_on_ray") -> list[str]:
    rooms = out.parent / "rooms"
    rooms.mkdir(exist_ok=True)
    (rooms / "train.json").write_text(json.dumps({"seed": 1, "count": 8, "height": 64, "width": 64}))
    fixed = ["segment", "--data", "rooms", "--root", str(rooms), "--out", str(out), "--network", NETWORK]
    fixed += ["--size", "64x64", "--batch", "4", "--loop.workers", "0", "--loop.log_every", "1", "--loop.threads", "1"]
    return [sys.executable, "-m", program, *fixed, *words]


def _losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_the_options_are_divided_between_ray_and_the_method() -> None:
    words = ["--workers", "3", "--batch", "6", "--gpus-per-worker=1", "--loop.workers", "2", "--debug"]
    ours, theirs = divided(words)
    assert ours == ["--workers", "3", "--gpus-per-worker=1", "--debug"]
    assert theirs == ["--batch", "6", "--loop.workers", "2", "--debug"]
    with pytest.raises(ValueError, match="--workers must be at least 1; got 0"):
        OnRay(workers=0)


def test_workers_find_every_place_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hn").mkdir()
    placed = _placed(OnRay(), Segment("rooms", "s3://bucket/rooms", Path("out"), init_from="hn"))
    assert (placed.root, placed.out, placed.init_from) == ("s3://bucket/rooms", tmp_path / "out", str(tmp_path / "hn"))
    fresh = _placed(OnRay(), Segment("rooms", "rooms", Path("out"), init_from="timm:resnet18"))
    assert (fresh.root, fresh.init_from) == (str(tmp_path / "rooms"), "timm:resnet18")


def test_what_a_killed_driver_left_is_no_mistake_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / RUN).mkdir()
    (tmp_path / RUN / MISTAKE).write_text("squares/7 cannot be used")
    seen: list[bool] = []

    def trained(on: OnRay, method: Segment) -> Outcome:
        seen.append((method.out / RUN / MISTAKE).exists())
        return Outcome(0)

    monkeypatch.setattr(ray_session, "ray_session", lambda *_: nullcontext())
    monkeypatch.setattr(ray_session, "slots", lambda *_: 2)
    monkeypatch.setattr(train_on_ray, "_trained", trained)
    assert main(OnRay(), Segment("rooms", "rooms", tmp_path)) == 0 and seen == [False]


def test_a_training_of_stages_goes_from_one_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, ...]] = []

    def trained(on: OnRay, method: DepthGating) -> Outcome:
        seen.append((method.stages[0], method.out.name, Path(method.init_from).name))
        return Outcome(143 if method.stages[0] == "loop1" else 0)

    monkeypatch.setattr(ray_session, "ray_session", lambda *_: nullcontext())
    monkeypatch.setattr(ray_session, "slots", lambda *_: 2)
    monkeypatch.setattr(train_on_ray, "_trained", trained)
    method = DepthGating("rooms", "rooms", tmp_path / "run", gate=GateConfig(backbone="batch"))
    assert main(OnRay(), method) == 143
    assert seen == [
        ("baseline", "1-baseline", ""),
        ("gating", "2-gating", "1-baseline"),
        ("loop1", "3-loop1", "2-gating"),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_of_ray_give_the_losses_of_one_process(tmp_path: Path) -> None:
    subprocess.run(_command(tmp_path / "one", "--steps", "2", program="fastseg.train"), cwd=ROOT, check=True)
    over_ray = _command(tmp_path / "ray", "--steps", "2", "--workers", "2")
    done = subprocess.run(over_ray, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    one, ray = np.array(_losses(tmp_path / "one")), np.array(_losses(tmp_path / "ray"))
    print(f"relative differences: {np.abs(one - ray) / one}")
    assert np.allclose(one, ray, rtol=[1e-6, 1e-3], atol=0)  # as in test_distributed
    assert not (tmp_path / "ray" / ".ray").exists()
    again = subprocess.run(over_ray, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert again.returncode == 2 and "already holds checkpoint-2; give --resume" in again.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    words = ("--steps", "40", "--loop.save_every", "2", "--workers", "2", "--max-failures", "1")
    dead: list[int] = []
    threading.Thread(target=_kill_a_worker, args=(tmp_path / "ray", dead), daemon=True).start()
    command, marked = _command(tmp_path / "ray", *words), os.environ | {MARK: str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=marked, capture_output=True, text=True, timeout=800)
    assert dead and done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    steps = [json.loads(line)["step"] for line in (tmp_path / "ray/metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 41))


def _kill_a_worker(out: Path, dead: list[int]) -> None:
    """After the first checkpoint, kill one of the two processes that train into `out`."""
    while not (out / "latest").exists():
        time.sleep(0.1)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={out.parent}".encode() in (folder / "environ").read_bytes()
            ours = ours and b"RayTrainWorker" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if ours:
            dead.append(int(folder.name))
            os.kill(dead[0], signal.SIGKILL)
            return


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_mistake_in_the_data_is_one_sentence(tmp_path: Path) -> None:
    words = ("--steps", "2", "--workers", "2", "--batch", "50")
    command = [word for word in _command(tmp_path / "ray") if word not in ("--batch", "4")]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "--batch 50 needs at least as many images; there are 8" in done.stderr
