"""A run inline: every frame ends in one row, a second run does nothing, no kill or damage changes the outcome."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import toy_work
from toy_run import rows, run, snapshot

from fastseg.data import shards
from fastseg.verify import problems
from pipelines import fan_out, ledger, retry
from pipelines.one_shard import BrokenRunError, Clock


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


def test_a_frame_that_needs_too_much_memory_is_rejected(tmp_path: Path) -> None:
    assert run(tmp_path, toy_work.plan(3, ("frame-001-fat",))) == 0
    found = rows(tmp_path, "rejected")
    assert [(r["id"], r["reason"], r["value"]) for r in found] == [("frame-001-fat", "memory", 2048)]
    assert len(rows(tmp_path)) == 3


def test_a_read_that_fails_for_a_moment_is_tried_again_and_one_that_goes_on_failing_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    monkeypatch.setattr(toy_work, "HICCUPS", iter(range(3)))
    assert run(tmp_path, toy_work.plan(3, ("frame-001-flaky", "frame-002-unreadable"))) == 0
    found = rows(tmp_path, "rejected")
    detail = "frame 'frame-002-unreadable' could not be read in 5 tries: no answer"
    assert [(r["id"], r["reason"], r["detail"], r["value"]) for r in found] == [
        ("frame-002-unreadable", "io", detail, 5)
    ]
    assert "7 reads or writes failed for a moment" in capsys.readouterr().err


def test_a_frame_that_reads_a_pipe_nobody_writes_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "image.png")
    monkeypatch.setenv("TOY_FIFO", str(tmp_path / "image.png"))
    assert run(tmp_path / "out", toy_work.plan(9, ("frame-004-fifo",)), timeout_s=0.2) == 0
    assert [(r["id"], r["reason"]) for r in rows(tmp_path / "out", "rejected")] == [("frame-004-fifo", "timeout")]
    assert len(rows(tmp_path / "out")) == 9


def test_a_bug_of_the_run_is_one_sentence(tmp_path: Path) -> None:
    def broken(frame_id: str, clock: Clock) -> shards.Row:
        return {"id": frame_id, "label": 3}

    with pytest.raises(BrokenRunError, match=r"^the run broke off: \w+: [^\n]*; --debug shows where$"):
        fan_out.fan_out(toy_work.plan(), broken, tmp_path, workers=0)


def test_no_workers_say_what_they_do_not_protect_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    assert "a frame that kills or blocks its process in native code ends the run" in capsys.readouterr().err


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


@pytest.mark.parametrize("lost", ["finished", "started", "counts", "parts", "parts.code", "counts.labels"])
def test_a_run_that_does_not_say_all_of_itself_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    assert run(tmp_path) == 0
    told = json.loads((tmp_path / "run.json").read_text())
    above, _, name = lost.rpartition(".")
    del (told[above] if above else told)[name]
    (tmp_path / "run.json").write_text(json.dumps(told))
    assert run(tmp_path) == 2
    assert f"run.json is damaged (KeyError: '{name}')" in capsys.readouterr().err


@pytest.mark.parametrize("left", [None, b"", b"PAR1 no manifest PAR1"])
def test_a_changed_run_is_refused_also_without_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: bytes | None
) -> None:
    assert run(tmp_path) == 0
    (tmp_path / "manifest.parquet").unlink()
    if left is not None:
        (tmp_path / "manifest.parquet").write_bytes(left)
    assert run(tmp_path, toy_work.plan(21)) == 2
    assert "was made by another run: its frames were others" in capsys.readouterr().err
    assert run(tmp_path, toy_work.plan(stamp="2")) == 2
    assert "was made by another run: its input files were others" in capsys.readouterr().err
    assert run(tmp_path) == 0 and problems(tmp_path) == []


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
