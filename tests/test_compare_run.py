from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseg import compare_order, compare_run
from fastseg.charts import Curve, alone, curves
from fastseg.compare_fork import forked
from fastseg.compare_plan import TRAIN, Plan, Task
from fastseg.compare_report import Summary, report, rows_of, summaries
from fastseg.compare_run import run_plan
from fastseg.compare_search import Choice, choose, grid
from fastseg.compare_study import Study, Variant
from fastseg.stop import StopRequest

NAN = float("nan")


def test_the_grid_holds_one_two_and_five_of_each_power() -> None:
    assert grid(2e-4, 1e-2) == [2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2]
    assert grid(3e-4, 4e-4) == []


@pytest.mark.parametrize(
    ("scores", "choice"),
    [
        ({}, Choice(None, (1e-4, 2e-4, 5e-4))),
        ({1e-4: 0.1, 5e-4: 0.1}, Choice(None, (2e-4,))),
        ({1e-4: 0.1, 2e-4: 0.3, 5e-4: 0.2}, Choice(2e-4, ())),
        ({1e-4: 0.3, 2e-4: 0.2, 5e-4: 0.1}, Choice(None, (5e-5,))),
        ({1e-4: 0.1, 2e-4: 0.2, 5e-4: 0.3}, Choice(None, (1e-3,))),
        ({1e-4: 0.1, 2e-4: 0.2, 5e-4: 0.3, 1e-3: NAN}, Choice(5e-4, ())),
        ({1e-4: 0.1, 2e-4: 0.3, 5e-4: 0.3, 1e-3: 0.1}, Choice(2e-4, ())),
    ],
)
def test_the_peak_is_picked_and_an_edge_is_no_peak(scores: dict[float, float], choice: Choice) -> None:
    assert choose(scores, 1e-4, 5e-4) == choice


def test_a_search_that_cannot_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"diverged; search from a lower one"):
        choose({1e-4: NAN, 2e-4: NAN, 5e-4: NAN}, 1e-4, 5e-4)
    with pytest.raises(ValueError, match=r"at the edge of every range"):
        choose({0.2: 0.1, 0.5: 0.2, 1.0: 0.3}, 0.2, 1.0)
    with pytest.raises(ValueError, match=r"no number of \{5, 2, 1\}"):
        choose({}, 3e-4, 4e-4)


@given(st.integers(3, 20), st.integers(0, 18), st.integers(2, 5))
def test_a_search_finds_the_peak_wherever_it_begins(peak: int, low: int, width: int) -> None:
    rates = grid(1e-7, 1.0)
    peak, high = min(peak, len(rates) - 2), min(low + width, len(rates) - 1)
    scores: dict[float, float] = {}
    for _ in range(40):
        choice = choose(scores, rates[low], rates[high])
        if choice.rate is not None:
            break
        scores |= {rate: -abs(rates.index(rate) - peak) for rate in choice.to_try}
    assert choice.rate == rates[peak]


class Tasks(Plan):
    """A plan of `count` tasks; nothing but names."""

    def __init__(self, out: Path, count: int) -> None:
        self.out, self.count = out, count
        (out / "tasks").mkdir(exist_ok=True)

    def tasks(self) -> Any:
        return iter([Task(f"t{k}", ("x",), {"k": k, "out": "o"}) for k in range(self.count)])


def _programs(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Tasks run this text, with the number of the task as `k`."""
    text = f"import json, sys, time, os, signal, pathlib\nk = json.load(open(sys.argv[1]))['k']\n{code}"
    monkeypatch.setattr(compare_run, "command", lambda task, config: [sys.executable, "-c", text, str(config)])


def test_no_more_tasks_at_a_time_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _programs(monkeypatch, f"p = pathlib.Path({str(tmp_path)!r})\n(p / f'{{k}}.begun').write_text(str(time.time()))\n"
              "time.sleep(.3)\n(p / f'{k}.done').write_text(str(time.time()))")  # fmt: skip
    assert run_plan(Tasks(tmp_path, 4), jobs=2, threads=1) == 0
    times = {path.name: float(path.read_text()) for path in tmp_path.glob("*.*") if path.suffix in (".begun", ".done")}
    spans = [(times[f"{k}.begun"], times[f"{k}.done"]) for k in range(4)]
    at_once = [sum(begun <= at < done for begun, done in spans) for at, _ in spans]
    assert max(at_once) == 2
    before = (tmp_path / "0.done").stat().st_mtime_ns
    assert run_plan(Tasks(tmp_path, 4), jobs=2, threads=1) == 0
    assert (tmp_path / "0.done").stat().st_mtime_ns == before, "a finished task is never run again"


def test_a_task_that_fails_is_named_and_the_rest_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _programs(monkeypatch, "print('no such image')\nsys.exit(2 if k == 1 else 0)")
    assert run_plan(Tasks(tmp_path, 3), jobs=1, threads=1) == 2
    assert "t1 ended with exit code 2: no such image" in capfd.readouterr().err
    _programs(monkeypatch, "sys.exit(k == 0)")
    assert run_plan(Tasks(tmp_path, 3), jobs=1, threads=1) == 0, "t0 was done and is not run again"


def test_a_stop_is_passed_on_and_nothing_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = f"""
def save(*_):
    pathlib.Path({str(tmp_path)!r}, f'saved{{k}}').write_text('')
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
pathlib.Path({str(tmp_path)!r}, f'up{{k}}').write_text(str(os.getpid()))
time.sleep(60)"""
    _programs(monkeypatch, saves)

    def stop() -> None:
        while not ((tmp_path / "up0").exists() and (tmp_path / "up1").exists()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert run_plan(Tasks(tmp_path, 3), jobs=2, threads=1) == 128 + signal.SIGTERM
    assert (tmp_path / "saved0").exists() and (tmp_path / "saved1").exists() and not (tmp_path / "up2").exists()
    for name in ("up0", "up1"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)
    _programs(monkeypatch, "")
    assert run_plan(Tasks(tmp_path, 3), jobs=2, threads=1) == 0


def test_a_study_is_run_once_at_a_time(tmp_path: Path) -> None:
    with (
        compare_run.held(tmp_path / "study.lock"),
        pytest.raises(ValueError, match="this study is being run already"),
    ):
        run_plan(Tasks(tmp_path, 1), jobs=1, threads=1)


def test_a_signal_twice_at_once_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.name == "SIGTERM"
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


class Trainings(Tasks):
    """A plan of trainings that cannot be: their configuration is unknown to `fastseg train`."""

    def tasks(self) -> Any:
        return iter([Task(f"t{k}", (TRAIN, "segment"), {"k": k, "out": "o"}) for k in range(self.count)])


@pytest.mark.torch
def test_a_training_is_forked_and_what_it_says_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_plan(Trainings(tmp_path, 2), jobs=1, threads=1) == 2
    assert "t0 ended with exit code 2: fastseg train segment: " in capfd.readouterr().err
    assert "unknown key" in (tmp_path / "tasks/t0.txt").read_text()


@pytest.mark.torch
def test_a_forked_program_holds_the_lock_and_can_be_ended(tmp_path: Path) -> None:
    lock = compare_run.held(tmp_path / "study.lock")
    environment = {"OMP_NUM_THREADS": "1", "SAID": str(tmp_path / "said")}
    found = forked(("tests.sleeping",), tmp_path / "log", environment, lock.fileno())
    lock.close()
    while not (tmp_path / "said").exists():
        assert found.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    with pytest.raises(ValueError, match="a task of an earlier run still is"):
        compare_run.held(tmp_path / "study.lock")
    found.send_signal(signal.SIGTERM)
    assert found.wait() == found.returncode == -signal.SIGTERM
    found.send_signal(signal.SIGTERM)
    compare_run.held(tmp_path / "study.lock").close()


ORDER = ["a", "b", "c"]


def _found(images: int, **scores: list[float]) -> list[Summary]:
    rows = {name: [{"seed": seed, "miou": miou} for seed, miou in enumerate(found)] for name, found in scores.items()}
    return [Summary(name, images, found, rows["a"]) for name, found in rows.items()]


def test_the_stated_order_holds_where_every_mean_falls() -> None:
    found = [*_found(8, a=[0.4, 0.6], b=[0.45, 0.35], c=[0.2, 0.3]), *_found(16, a=[0.4], b=[0.3], c=[0.31])]
    orders = compare_order.compared(ORDER, found)
    assert [(each["images"], each["holds"]) for each in orders] == [(8, True), (16, False)]
    assert orders[0]["pairs"][0]["gains"] == pytest.approx([-5, 25]), "seed against the same seed"
    assert compare_order.lines(orders)[0] == ["8", "a", "b", "+10.0 +- 21.2", "1 of 2"]
    said = compare_order.verdict(ORDER, orders)
    held = "The order a > b > c (mean mIoU) holds with 8 images and fails with 16"
    assert said == f"{held}; 1 of 3 single seeds show it.", "seed 1 with 8 images"


def test_an_order_is_told_only_where_all_its_variants_are_trained() -> None:
    assert compare_order.compared(ORDER, _found(8, a=[0.4], b=[0.5])) == []
    assert compare_order.verdict(ORDER, []).endswith("cannot be told yet.")
    failed = compare_order.compared(ORDER, [*_found(8, a=[0.1], b=[0.2], c=[0.3]), *_found(9, a=[0.1], b=[0.2], c=[0])])
    assert compare_order.verdict(ORDER, failed).endswith("fails with 8 and 9 images; 0 of 2 single seeds show it.")


@pytest.fixture
def done(tmp_path: Path) -> Plan:
    """A study of two variants, two numbers of images and two seeds, all trained: the second is ahead by 0.1."""
    root = tmp_path / "few"
    for kind in ("color", "labels"):
        (root / kind).mkdir(parents=True)
        for index in range(5):
            (root / kind / f"{index}.png").write_bytes(b"")
    (root / "classes.txt").write_text("grey\nred\n")
    (root / "train.txt").write_text("0\n1\n2\n3\n")
    (root / "val.txt").write_text("4\n")
    segment = {"data": "folder", "root": str(root), "batch": 2, "steps": 4, "loop": {"eval_every": 2}}
    study = Study("two", segment, [Variant("a"), Variant("<b>".strip("<>"))], counts=[2], fractions=[1.0], seeds=[0, 1])
    plan = Plan(study, tmp_path / "out", 4)
    for task in plan.tasks():
        folder, ahead = Path(task.config["out"]), 0.1 * task.name.startswith("cell-b")
        folder.mkdir(parents=True)
        lines = [
            {"step": step, "miou": 0.2 + ahead + step / 100 + task.config["seed"] / 50, "global_accuracy": 0.5,
             "class_accuracy": 0.4, "epoch": 0}
            for step in (2, 4)
        ]  # fmt: skip
        (folder / "metrics.jsonl").write_text(
            '{"step": 1, "loss": 1.0}\n' + "".join(json.dumps(x) + "\n" for x in lines)
        )
        plan.begin(task)
        plan.end(task, 0)
    return plan


@pytest.mark.torch
def test_study_json_holds_what_was_promised(done: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    report(done)
    found = json.loads((done.out / "study.json").read_text())
    assert list(found) == ["protocol", "machine", "versions", "date", "rows"]
    assert len(found["rows"]) == 8
    keys = ["variant", "seed", "images", "fraction", "miou", "global_accuracy", "class_accuracy", "curve"]
    assert all(list(row) == keys for row in found["rows"])
    half, whole = found["rows"][0], found["rows"][2]
    assert (half["variant"], half["seed"], half["fraction"], whole["fraction"]) == ("a", 0, 0.5, 1.0)
    assert half["miou"] == half["curve"][-1]["miou"] == pytest.approx(0.24)
    assert [point["epoch"] for point in half["curve"]] == [2, 4] and [p["epoch"] for p in whole["curve"]] == [1, 2]
    said = (done.out / "study.md").read_text()
    assert "| b | 4 | 2 | 35.0 +- 1.4 | 50.0 +- 0.0 | 40.0 +- 0.0 | +10.0 (2 of 2 seeds) |" in said
    assert "8 of 8 trainings" in capsys.readouterr().out
    page = (done.out / "report.html").read_text()
    assert page.count("<svg") == 4 and "<script" not in page
    for name in ("miou", "global_accuracy", "class_accuracy", "size"):
        ElementTree.fromstring((done.out / f"{name}.svg").read_text())


def test_a_study_half_done_reports_what_is_done(done: Plan) -> None:
    done.path("cell-b-4-1").unlink()
    rows = rows_of(done)
    assert len(rows) == 7
    last = summaries(done, rows)[-1]
    assert (last.variant, last.shown("miou"), last.against("miou")) == ("b", "34.0", "+10.0 (1 of 1 seeds)")
    for path in done.path("x").parent.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="no training of the study is done yet"):
        rows_of(done)


def test_a_band_lies_around_its_curve_and_in_the_chart() -> None:
    points = np.array([[0.0, 1.0], [1.0, 2.0]])
    curve = Curve("mean", "var(--one)", points, spread=np.array([0.5, 1.0]))
    assert curve.band().tolist() == [[0, 1.5], [1, 3.0], [1, 1.0], [0, 0.5]]
    chart = ElementTree.fromstring(alone(curves([curve], "t", "x", "y")))
    (band,) = [e for e in chart.iter() if e.tag.endswith("polygon")]
    places = [tuple(map(float, each.split(","))) for each in band.attrib["points"].split()]
    assert all(48 <= x <= 544 and 60 <= y <= 262 for x, y in places) and band.attrib["fill"].startswith("#")
    many = ElementTree.fromstring(alone(curves([curve] * 12, "t", "x", "y")))
    assert many.attrib["viewBox"] == "0 0 560 330"
