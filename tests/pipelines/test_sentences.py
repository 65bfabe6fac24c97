"""What goes wrong is said in a sentence: neither the pipeline nor `fastseg verify` prints a traceback unasked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_work
from toy_run import driver, run

from fastseg import verify
from fastseg.verify import problems
from pipelines import make_hn_labels

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms")
    (root / "rooms.json").write_text(json.dumps({"seed": 1, "count": 3, "height": 48, "width": 64}))
    return root


@pytest.fixture(scope="module")
def made(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    assert make_hn_labels.cli(words(rooms, out)) == 0
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A finished run, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def words(root: Path, out: Path, *more: str) -> list[str]:
    always = ["--workers", "0", "--tuning.max_reject", "1", "--tuning.shard_size", "2"]
    return ["--reader", "rooms", "--root", str(root), "--out", str(out), *always, *more]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """All that was printed: no traceback in it."""
    text = "".join(capsys.readouterr())
    assert "Traceback" not in text and "  File " not in text, text
    return text


MISTAKES: dict[str, Callable[[Path, Path], list[str]]] = {
    "no root": lambda rooms, here: words(here / "none", here / "out"),
    "root a file": lambda rooms, here: words(rooms / "rooms.json", here / "out"),
    "an empty root": lambda rooms, here: words(here, here / "out"),
    "another reader": lambda rooms, here: [*words(rooms, here / "out"), "--reader", "kitti"],
    "no reader": lambda rooms, here: [*words(rooms, here / "out"), "--reader", "kinect"],
    "an unknown option": lambda rooms, here: words(rooms, here / "out", "--rot", "x"),
    "a value missing": lambda rooms, here: words(rooms, here / "out", "--limit"),
    "no number": lambda rooms, here: words(rooms, here / "out", "--limit", "many"),
    "a number too small": lambda rooms, here: words(rooms, here / "out", "--limit", "-1"),
    "no configuration": lambda rooms, here: words(rooms, here / "out", "--config", str(here / "none.yaml")),
    "out in a file": lambda rooms, here: words(rooms, rooms / "rooms.json"),
    "out below a file": lambda rooms, here: words(rooms, rooms / "rooms.json" / "out"),
    "out forbidden": lambda rooms, here: words(rooms, Path("/proc/fastseg/out")),
    "out in no store": lambda rooms, here: ["--reader", "rooms", "--root", str(rooms), "--out", "ftpx://a/b"],
    "no cluster": lambda rooms, here: [*words(rooms, here / "out"), "--workers", "1", "--address", "ray://x:1"],
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_command_is_a_sentence(
    rooms: Path, tmp_path: Path, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_hn_labels.cli(MISTAKES[mistake](rooms, tmp_path)) in (1, 2)
    assert said(capsys).strip()


def garbage(path: Path, size: int = 100) -> None:
    path.write_bytes(os.urandom(size))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "run.json of noise": lambda out: garbage(out / "run.json"),
    "run.json a folder": lambda out: folder(out / "run.json"),
    "run.json empty": lambda out: (out / "run.json").write_text(""),
    "no run.json": lambda out: (out / "run.json").unlink(),
    "a manifest of noise": lambda out: garbage(out / "manifest.parquet"),
    "no manifest": lambda out: (out / "manifest.parquet").unlink(),
    "sums of noise": lambda out: garbage(out / "SHA256SUMS"),
    "no sums": lambda out: (out / "SHA256SUMS").unlink(),
    "labels a file": lambda out: [shutil.rmtree(out / "labels"), garbage(out / "labels")],
    "no labels": lambda out: shutil.rmtree(out / "labels"),
    "no rejected": lambda out: shutil.rmtree(out / "rejected"),
    "a shard of noise": lambda out: garbage(out / "labels" / "shard-00000.parquet", 5000),
    "a shard empty": lambda out: (out / "labels" / "shard-00001.parquet").write_bytes(b""),
    "a shard a folder": lambda out: folder(out / "labels" / "shard-00000.parquet"),
    "a shard a loop": lambda out: [(p := out / "labels" / "shard-00000.parquet").unlink(), p.symlink_to(p)],
    "a shard cut": lambda out: os.truncate(out / "labels" / "shard-00000.parquet", 2000),
    "a rejected shard of noise": lambda out: garbage(out / "rejected" / "shard-00001.parquet"),
    "the lock a folder": lambda out: (out / ".lock").mkdir(),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_says_what_is_damaged_in_sentences(out: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    DAMAGES[damage](out)
    for workers in ("0", "1") if damage == "a shard of noise" else ("0",):
        assert verify.cli([str(out), "--workers", workers]) == (0 if "lock" in damage else 1)
    assert str(out) in said(capsys)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_pipeline_makes_good_or_refuses_a_damaged_output(
    rooms: Path, out: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](out)
    code = make_hn_labels.cli(words(rooms, out))
    text = said(capsys)
    assert code == 0 or (code in (1, 2) and str(out) in text), text
    assert code != 0 or verify.cli([str(out)]) == 0


def started(*command: str) -> subprocess.Popen[str]:
    """A program in a session of its own, as a terminal starts one: a signal to the group reaches all of it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", *command]
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest-xdist's processes ignore it
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.chaos)])
def test_a_pipeline_stopped_from_the_terminal_says_so(tmp_path: Path, workers: str, number: signal.Signals) -> None:
    root, out = tmp_path / "rooms", tmp_path / "out"
    root.mkdir()
    (root / "rooms.json").write_text(json.dumps({"seed": 1, "count": 5000, "height": 48, "width": 64}))
    process = started("pipelines.make_hn_labels", *words(root, out), "--workers", workers)
    while not list(out.glob("labels/*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, number)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number and f"stopped by {number.name}" in text, text
    assert "Traceback" not in text and not (out / ".lock").exists() and not list(out.rglob(".*.tmp"))


@pytest.mark.slow
def test_verify_stopped_from_the_terminal_says_so(tmp_path: Path) -> None:
    from benchmarks.verify_scale import write_run

    write_run(tmp_path / "run", 120_000)
    for wait in (0.0, 0.1):  # before and after its processes are up
        ended = [interrupted(tmp_path / "run", wait)]
        while ended[-1][0] == 0 and len(ended) < 4:  # it was done before the interruption came: the machine is busy
            ended.append(interrupted(tmp_path / "run", wait))
        code, text = ended[-1]
        assert code == 130 and "Traceback" not in text and text.strip().endswith("interrupted"), text


def interrupted(folder: Path, wait: float) -> tuple[int, str]:
    """Exit code and output of a verification that gets Ctrl-C, `wait` seconds after its processes were started."""
    process = started("fastseg.verify", str(folder), "--workers", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 3:  # the workers, and what tracks their resources
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    return process.returncode, text


@pytest.mark.slow
@pytest.mark.chaos
def test_a_ray_that_dies_under_the_driver_is_no_traceback(tmp_path: Path) -> None:
    """The node's own process, raylet, is killed: the driver ends, and the same command goes on."""
    process = driver(tmp_path, 0, 2, 200, stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
    while not list(tmp_path.glob("labels/*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    raylets = [pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet"]
    assert len(raylets) == 1
    os.kill(int(raylets[0]), signal.SIGKILL)
    text, _ = process.communicate(timeout=240)
    assert process.returncode == 1 and "Traceback" not in text, text
    assert run(tmp_path, toy_work.plan(200, suffix="-slow")) == 0 and problems(tmp_path) == []
