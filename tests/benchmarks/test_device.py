"""The GPU command: what it says without a GPU, how a stage ends, what it counts, and that its peers compute the op."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import device, device_stages
from benchmarks.device_stages import RACES, STAGES, Outcome, commands, counted, plain, run_process, run_stage
from benchmarks.rows import OURS

ROOT = Path(__file__).parents[2]


def no_gpu() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")


@pytest.mark.torch
def test_without_a_gpu_it_says_so_in_one_sentence_and_ends_with_2(tmp_path: Path) -> None:
    no_gpu()
    command = [sys.executable, "-m", "benchmarks.device", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "python -m benchmarks.device: no CUDA device here: nothing was run\n"
    assert not (tmp_path / "out").exists()


def test_the_limits_of_the_stages_leave_room_for_those_after_them() -> None:
    names = list(STAGES)
    assert names[:2] == ["build", "rates"] and set(RACES) < set(names)
    reserves = [STAGES[name].reserve_s for name in names]
    assert reserves == sorted(reserves, reverse=True) and reserves[-1] == 0
    assert device.Config(Path()).budget_s < 540


def test_an_unknown_stage_is_refused_and_chosen_ones_keep_their_order() -> None:
    with pytest.raises(ValueError, match="no stage lunch"):
        device.chosen(("lunch",))
    assert device.chosen(("memcheck", "rates")) == ["rates", "memcheck"]
    assert device.chosen(()) == list(STAGES)


def test_a_stage_without_time_is_not_run(tmp_path: Path) -> None:
    outcome = run_stage("rates", tmp_path, STAGES["rates"].reserve_s + 1)
    assert (outcome.status, outcome.seconds) == ("not run", 0.0)
    assert "were left" in outcome.told


def test_a_process_passes_fails_or_is_ended_with_its_children_at_the_limit() -> None:
    passed = run_process("a", [sys.executable, "-c", "print('first'); print('last')"], 30, {})
    assert (passed.status, passed.told) == ("passed", "last")
    failed = run_process("a", [sys.executable, "-c", f"raise SystemExit({str(ROOT)!r})"], 30, {})
    assert failed.status == "failed" and failed.told.startswith("exit code 1: .")
    slow = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    ended = run_process("a", [sys.executable, "-c", slow], 1, {})
    assert ended.status == "failed" and ended.told.startswith("ran past its 1 s") and ended.seconds < 10


def test_what_a_stage_says_names_no_folder_of_the_machine() -> None:
    told = plain(f"{ROOT}/benchmarks/x.py, {sys.prefix}/lib, {Path.home()}/y")
    assert str(ROOT) not in told and str(Path.home()) not in told


def test_without_a_build_nothing_else_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail(name: str, out: Path, left_s: float) -> Outcome:
        asked.append(name)
        return Outcome(name, "failed", 1.0, "exit code 1")

    monkeypatch.setattr(device, "run_stage", fail)
    outcomes = device.run_all(["build", "rates", "normals"], tmp_path, 100)
    assert asked == ["build"]
    assert [outcome.status for outcome in outcomes] == ["failed", "not run", "not run"]
    (path,) = tmp_path.glob("device-stages-20*.json")
    stages = json.loads(path.read_text())["stages"]
    assert [stage["status"] for stage in stages] == ["failed", "not run", "not run"]


def test_a_failed_stage_is_named_and_the_others_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(name: str, out: Path, left_s: float) -> Outcome:
        return Outcome(name, {"normals": "failed", "memcheck": "not run"}.get(name, "passed"), 1.0, "")

    monkeypatch.setattr(device, "run_stage", ended)
    monkeypatch.setattr(device, "require_gpu", lambda: None)
    assert device.main(device.Config(tmp_path)) == 1
    printed = capsys.readouterr()
    assert printed.err == "failed: normals\n" and "not run: memcheck" in printed.out
    assert device.main(device.Config(tmp_path, stages=("rates",))) == 0


def test_the_sanitizer_watches_our_kernels_but_initcheck_every_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_stages, "sanitizer", lambda: "compute-sanitizer")
    memcheck, initcheck = commands("memcheck", tmp_path), commands("initcheck", tmp_path)
    assert memcheck is not None and initcheck is not None
    assert "kns=2fs" in memcheck and "kns=2fs" not in initcheck
    assert memcheck[-1] == initcheck[-1] == "benchmarks.device_sanitize"
    monkeypatch.setattr(device_stages, "sanitizer", lambda: None)
    assert commands("memcheck", tmp_path) is None
    assert run_stage("racecheck", tmp_path, 100).told == "compute-sanitizer is not installed"


def test_pytests_report_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    assert counted(report) == {}
    report.write_text('<testsuites><testsuite tests="9" failures="1" errors="1" skipped="3"/></testsuites>')
    assert counted(report) == {"ran": 6.0, "failed": 2.0, "skipped": 3.0}


def test_rates_are_read_from_the_folder_of_the_results(tmp_path: Path) -> None:
    from benchmarks.device_race import limits, shares

    with pytest.raises(ValueError, match="not measured yet"):
        limits(tmp_path)
    rates = {"copy_gb_s": 4000.0, "bf16_tflop_s": 800.0}
    (tmp_path / "device-rates-2026-01-01.json").write_text(json.dumps({"rates": rates}))
    assert limits(tmp_path) == rates
    found = shares(0.5, rates, 64, 1e9, 2e11, "bf16_tflop_s")
    assert found == pytest.approx(
        {"us_a_frame": 500 / 64, "gb_s": 2000, "share_of_copy": 0.5, "tflop_s": 400, "share_of_matmul": 0.5}
    )


def test_inputs_are_taken_in_turn() -> None:
    from benchmarks.device_race import over

    assert [over(lambda x: x, "abc")(number) for number in range(4)] == ["a", "b", "c", "a"]


@pytest.mark.torch
@pytest.mark.parametrize("op", RACES)
def test_an_ops_gpu_rows_come_from_a_module_that_imports(op: str) -> None:
    pytest.importorskip("torch")
    from benchmarks.device_ops import MODULES

    assert callable(getattr(importlib.import_module(f"benchmarks.{MODULES[op]}"), f"{op}_rows"))


@pytest.mark.torch
def test_the_gpus_peers_compute_what_the_ops_define() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks import device_decile_rank, device_gated_conv, device_photometric

    assert device_photometric.agreement(device_photometric.inputs(0, "cpu", 1)) < 0.02
    for hard in (False, True):
        x, gate = device_gated_conv.maps(1, 0, torch.float32, "cpu"), device_gated_conv.gates(1, hard, 0, "cpu")
        given = (x[:, :4].contiguous(), torch.randn(5, 4, 4, 3, 3), gate)
        assert device_gated_conv.agreement(given, hard) < 1e-4
    scores = (torch.rand(3, 31, 33) * 50).floor()
    assert torch.equal(device_decile_rank.decile_rank(scores), device_decile_rank.torch_ranks(scores))


@pytest.mark.torch
def test_a_gpu_race_makes_rows_of_thread_0(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import device_race

    monkeypatch.setattr(device_race, "event_ms", lambda call, number: float(call(number)))
    monkeypatch.setattr(device_race, "peak_mb", lambda call: 3.0)
    calls = {"eager": lambda number: 4.0 + number % 2, OURS: lambda number: 2.0}
    ours, eager = device_race.gpu_race("a", calls, {"copy_gb_s": 100.0}, repeats=5, frames=2, moved=1e6)
    assert (ours.impl, ours.threads, ours.ms_median, ours.ratio_to_ours) == (OURS, 0, 2.0, 1.0)
    assert (eager.ms_median, eager.ratio_to_ours) == (4.0, 2.0)
    assert ours.extra == pytest.approx({"peak_mb": 3.0, "us_a_frame": 1000.0, "gb_s": 0.5, "share_of_copy": 0.005})
