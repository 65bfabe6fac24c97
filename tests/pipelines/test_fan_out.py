"""A run inline: every frame ends in one row, a second run does nothing, no kill or damage changes the outcome."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_work

from fastseg.data import shards
from fastseg.verify import problems
from pipelines import fan_out, ledger
from pipelines.lock import locked
from pipelines.one_shard import Clock


def run(out: Path, plan: ledger.Plan | None = None, **options: float) -> int:
    return fan_out.fan_out(plan or toy_work.plan(), toy_work.work, out, workers=0, **options)  # type: ignore[arg-type]


def rows(out: Path, folder: str = "labels") -> list[shards.Row]:
    return [row for path in sorted((out / folder).glob("*.parquet")) for row in shards.read_rows(path)]


def snapshot(out: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    assert run(out) == 0
    return out


def test_every_frame_ends_as_one_label_row(clean: Path) -> None:
    assert rows(clean) == [toy_work.work(i, Clock()) for i in toy_work.plan().ids]
    assert rows(clean, "rejected") == []
    assert sorted(p.name for p in clean.iterdir()) == [
        "SHA256SUMS",
        "labels",
        "manifest.parquet",
        "rejected",
        "run.json",
    ]
    assert problems(clean) == []


def test_rejected_frames_keep_their_reason_and_figure(tmp_path: Path) -> None:
    plan = toy_work.plan(10, ("a-nofloor", "b-bug"))
    assert run(tmp_path, plan) == 0
    assert [(r["id"], r["reason"], r["detail"]) for r in rows(tmp_path, "rejected")] == [
        ("a-nofloor", "no-floor", "no floor in view"),
        ("b-bug", "error", "KeyError: 'surprise\\nsecond line'"),
    ]
    assert rows(tmp_path, "rejected")[0]["value"] == 0.25
    assert [r["id"] for r in rows(tmp_path)] == [i for i in plan.ids if i.startswith("frame")]
    assert json.loads((tmp_path / "run.json").read_text())["counts"]["rejected"] == {"no-floor": 1, "error": 1}


def test_a_hanging_frame_is_rejected_and_its_neighbours_are_not(tmp_path: Path) -> None:
    assert run(tmp_path, toy_work.plan(3, ("frame-001-hang",)), timeout_s=0.2) == 0
    assert [(r["id"], r["reason"]) for r in rows(tmp_path, "rejected")] == [("frame-001-hang", "timeout")]
    assert len(rows(tmp_path)) == 3


def test_too_many_rejects_end_with_code_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = toy_work.plan(1, ("a-nofloor",))
    assert run(tmp_path, plan, max_reject=0.4) == 3
    assert "50.0% of the frames were rejected" in capsys.readouterr().err
    assert run(tmp_path, plan, max_reject=0.4) == 3
    assert run(tmp_path, plan, max_reject=0.5) == 0


def test_a_second_run_does_no_work_and_changes_no_byte(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(clean)
    assert run(clean) == 0
    assert snapshot(clean) == before
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (toy_work.plan(n_height=5), "n_height was 3 and is now 5"),
        (toy_work.plan(estimator="pca"), "estimator was None and is now 'pca'"),
        (toy_work.plan(21), "1 frames were added and 0 removed, 'frame-020' the first"),
        (toy_work.plan(stamp="2"), "input files of 20 frames changed, 'frame-000' the first"),
    ],
)
def test_a_changed_run_is_refused_and_the_change_named(
    clean: Path, capsys: pytest.CaptureFixture[str], changed: ledger.Plan, named: str
) -> None:
    before = snapshot(clean)
    assert run(clean, changed) == 2
    assert named in capsys.readouterr().err
    assert snapshot(clean) == before


# Renames of a run: manifest, run.json, then rejected and labels of three shards, SHA256SUMS, run.json.
@pytest.mark.parametrize("rename", [2, 3, 4, 6, 8, 9, 10])
def test_a_kill_before_any_rename_loses_nothing(tmp_path: Path, clean: Path, rename: int) -> None:
    roots = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots)}
    command = [sys.executable, toy_work.__file__, str(tmp_path), str(rename)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert list(tmp_path.rglob(".*.tmp"))
    assert run(tmp_path) == 0
    assert rows(tmp_path) == rows(clean) and problems(tmp_path) == []
    assert not list(tmp_path.rglob(".*.tmp"))
    assert (tmp_path / "SHA256SUMS").read_bytes() == (clean / "SHA256SUMS").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "rejected"])
def test_a_damaged_shard_is_found_and_made_again(tmp_path: Path, clean: Path, damage: str) -> None:
    assert run(tmp_path) == 0
    path = tmp_path / ("rejected" if damage == "rejected" else "labels") / "shard-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 8
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    if damage == "missing":
        path.unlink()
    others = snapshot(tmp_path / "labels").items()
    assert problems(tmp_path) != []
    assert run(tmp_path) == 0
    assert rows(tmp_path) == rows(clean) and problems(tmp_path) == []
    after = snapshot(tmp_path / "labels")
    assert all(after[name] == found for name, found in others if "00001" not in name)


def test_a_stop_signal_ends_cleanly_and_the_run_resumes(
    tmp_path: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(frame_id: str, clock: Clock) -> shards.Row:
        if frame_id == "frame-012":
            signal.raise_signal(signal.SIGTERM)
        return toy_work.work(frame_id, clock)

    assert fan_out.fan_out(toy_work.plan(), interrupted, tmp_path, workers=0) == 143
    assert "stopped by SIGTERM; 1 of 3 shards are complete" in capsys.readouterr().err
    assert not list(tmp_path.rglob(".*.tmp")) and not (tmp_path / ".lock").exists()
    assert run(tmp_path) == 0 and rows(tmp_path) == rows(clean)


def test_a_second_driver_is_refused_and_a_dead_ones_lock_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path):
        assert run(tmp_path) == 2
    assert f"pid {os.getpid()}" in capsys.readouterr().err
    (tmp_path / ".lock").write_text(f"pid 1, host {os.uname().nodename}, boot x\n")
    assert run(tmp_path) == 0
    (tmp_path / ".lock").write_text("pid 1, host elsewhere, boot x\n")
    assert run(tmp_path) == 2
    assert "another machine" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == 1
    assert f"cannot write {tmp_path / 'file'}" in capsys.readouterr().err
    (tmp_path / "labels" / f".shard-00000.parquet.{os.uname().nodename}.{os.getpid()}.tmp").mkdir(parents=True)
    assert run(tmp_path) == 1
    assert "cannot write" in (message := capsys.readouterr().err) and "Traceback" not in message


def test_shards_without_their_run_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    (tmp_path / "run.json").write_text("{")
    assert run(tmp_path) == 2 and "damaged" in capsys.readouterr().err
    (tmp_path / "run.json").unlink()
    assert run(tmp_path) == 2 and "no run.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ids", "named"), [((), "no frames"), (("a", "a"), "'a' is there twice"), (("a\n",), "printable")]
)
def test_a_plan_refuses_ids_it_cannot_keep(ids: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ledger.Plan(ids, ("1",) * len(ids), {}, "1", {})


def test_input_stamps_see_a_change_of_size_and_a_same_size_edit_of_a_small_file(tmp_path: Path) -> None:
    pose, depth = tmp_path / "pose.txt", tmp_path / "depth.png"
    pose.write_text("1 0 0")
    depth.write_bytes(bytes(5000))
    frames = [[str(depth), str(pose)], [str(tmp_path / "gone"), str(pose)]]
    first = ledger.input_stamps(frames)
    assert first[0].startswith("5000+") and first[1].startswith("-+")
    pose.write_text("1 0 1")
    edited = ledger.input_stamps(frames)
    assert all(a != b for a, b in zip(first, edited, strict=True))
    depth.write_bytes(bytes(4999) + b"x")
    assert ledger.input_stamps(frames) == edited
    assert ledger.input_stamps(frames, content=True)[0] != edited[0]
