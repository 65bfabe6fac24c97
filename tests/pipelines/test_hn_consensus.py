"""Labels by consensus, from files to verified shards: a walk through a room whose floor half the frames do not see."""

from __future__ import annotations

import copy
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fastseg.data.places import place
from fastseg.data.rooms import Rooms, write_rooms
from fastseg.data.shards import content_hash, read_rows, row_digest
from fastseg.label_run import read_run
from fastseg.labels.consensus import ConsensusConfig
from fastseg.verify import problems
from pipelines import hn_consensus
from pipelines.hn_consensus import LabelByPlane
from pipelines.hn_planes import planes_at
from pipelines.make_hn_labels import cli

FRAMES = 12
WALK = Rooms(5, FRAMES, 120, 160, views=FRAMES, path=True)
SMALL = ("--hn.radius", "2", "--hn.gravity_radius", "4", "--hn.stride", "2", "--hn.max_residual", "0.02")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `folder` data set with poses; the lowest 30 cm of every second frame are not measured."""
    root = tmp_path_factory.mktemp("walk")
    for k, frame_id in enumerate(write_rooms(root, WALK)):
        if k % 2:
            hide_floor(root / "depth" / f"{frame_id}.png", frame_id)
    return root


def hide_floor(path: Path, frame_id: str) -> None:
    exact = WALK.truth(frame_id)
    v, u = np.mgrid[: WALK.camera.height, : WALK.camera.width]
    c, z = WALK.camera, exact.depth.astype(np.float64)
    height = np.stack([(u - c.cx) / c.fx * z, (v - c.cy) / c.fy * z, z], -1) @ exact.up - exact.floor_m
    with Image.open(path) as image:
        depth = np.array(image)
    Image.fromarray(np.where(height < 0.3, 0, depth).astype(np.uint16)).save(path)


def command(root: Path, out: Path, *more: str, workers: int = 0) -> int:
    words = ["--reader", "folder", "--root", str(root), "--out", str(out), "--workers", str(workers)]
    return cli([*words, *SMALL, "--tuning.consensus_window", "0", "--tuning.shard_size", "4", *more])


def rows(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "labels").glob("*.parquet")) for row in read_rows(path)]


def sorted_hash(out: Path) -> str:
    return content_hash({row["id"]: row_digest(row) for row in rows(out)})


def content(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def voted(walk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("voted") / "out"
    assert command(walk, out, "--consensus", "poses") == 0
    return out


def test_frames_without_a_floor_are_labelled_and_say_so(walk: Path, voted: Path, tmp_path: Path) -> None:
    assert command(walk, tmp_path / "alone") == 0
    rejected = {row["id"] for row in read_run(tmp_path / "alone").rejected}
    assert len(rejected) >= 4
    assert problems(voted) == [] and problems(voted / "estimates") == []
    assert len(rows(voted)) == FRAMES
    assert {row["id"] for row in rows(voted) if row["aligned_fraction"] < 0.8} == rejected
    for row in rows(voted):
        exact = WALK.truth(row["id"])
        assert np.dot(row["up"], exact.up) > np.cos(np.deg2rad(0.6))
        assert abs(row["floor_m"] - exact.floor_m) < 0.03


def test_the_planes_are_kept_with_their_confidence(voted: Path) -> None:
    table = pq.read_table(voted / "consensus.parquet").to_pylist()
    assert [row["id"] for row in table] == WALK.ids() and {row["scene"] for row in table} == {"room-000000"}
    assert {row["reason"] for row in table} == {""}
    assert all(row["up_spread_deg"] < 1 and row["floor_spread_m"] < 0.05 and row["votes"] >= 4 for row in table)


def test_the_same_command_changes_no_byte_and_another_is_refused(
    walk: Path, voted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(voted)
    assert command(walk, voted, "--consensus", "poses") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert command(walk, voted) == 2
    assert command(walk, voted, "--consensus", "sequence") == 2
    assert "consensus was 'poses' and is now 'sequence'" in capsys.readouterr().err
    assert command(walk, voted, "--consensus", "poses", "--tuning.consensus_window", "7") == 2
    assert "consensus.window was 0" in capsys.readouterr().err
    assert content(voted) == before


def test_a_run_without_consensus_is_not_mixed_with_one(walk: Path, tmp_path: Path) -> None:
    assert command(walk, tmp_path, "--limit", "4") == 0
    before = content(tmp_path)
    assert command(walk, tmp_path, "--limit", "4", "--consensus", "poses") == 2
    assert content(tmp_path) == before


def test_a_run_killed_between_its_passes_ends_as_the_clean_one(
    walk: Path, voted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hn_consensus, "replace_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command(walk, tmp_path, "--consensus", "poses") == 130
    assert not (tmp_path / "consensus.parquet").exists()
    assert command(walk, tmp_path, "--consensus", "poses") == 0
    assert sorted_hash(tmp_path) == sorted_hash(voted)
    (tmp_path / "consensus.parquet").write_bytes(b"PAR1 cut short")
    assert command(walk, tmp_path, "--consensus", "poses") == 0
    assert (tmp_path / "consensus.parquet").read_bytes() == (voted / "consensus.parquet").read_bytes()


def test_a_store_holds_both_passes(walk: Path) -> None:
    pytest.importorskip("upath")
    out = "memory://consensus/out"
    assert command(walk, place(out), "--consensus", "poses") == 0
    assert problems(place(out)) == []
    before = (place(out) / "consensus.parquet").read_bytes()
    assert command(walk, place(out), "--consensus", "poses") == 0
    assert (place(out) / "consensus.parquet").read_bytes() == before


@pytest.mark.slow
def test_the_labels_do_not_depend_on_the_number_of_workers(walk: Path, voted: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert command(walk, tmp_path, "--consensus", "poses", workers=2) == 0
    assert sorted_hash(tmp_path) == sorted_hash(voted) and problems(tmp_path) == []


def test_a_frame_that_the_vote_cannot_place_keeps_its_reason_and_says_why(walk: Path, tmp_path: Path) -> None:
    root = tmp_path / "walk"
    write_rooms(root, WALK)
    for k, frame_id in enumerate(WALK.ids()):
        hide_floor(root / "depth" / f"{frame_id}.png", frame_id)
        pose = np.loadtxt(root / "poses" / f"{frame_id}.txt")
        pose[2, 3] += k  # every frame a metre higher than the one before
        np.savetxt(root / "poses" / f"{frame_id}.txt", pose)
    assert command(root, tmp_path / "out", "--consensus", "poses", "--tuning.max_reject", "1") == 0
    found = read_run(tmp_path / "out").rejected
    assert len(found) >= 10 and {row["reason"] for row in found} <= {"no-floor", "gravity"}
    assert all("no plane by consensus: " in row["detail"] for row in found)


def test_a_corpus_that_cannot_be_read_is_rejected_frame_by_frame(walk: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    root.mkdir()
    copied(walk, root)
    for path in (root / "depth").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:200])
    assert command(root, tmp_path / "out", "--consensus", "poses", "--tuning.max_reject", "1") == 0
    found = read_run(tmp_path / "out").rejected
    assert [row["reason"] for row in found] == ["decode"] * FRAMES and problems(tmp_path / "out") == []


def test_a_plane_that_cannot_be_written_is_named(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "consensus.parquet").mkdir()
    assert command(walk, tmp_path, "--consensus", "poses") == 1
    assert f"cannot write {tmp_path / 'consensus.parquet'}" in capsys.readouterr().err


def test_poses_that_are_not_there_are_asked_for_before_the_run(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "bare"
    root.mkdir()
    for name in ("color", "depth"):
        copied(walk / name, root / name)
    shutil.copy(walk / "intrinsics.json", root)
    assert command(root, tmp_path / "out", "--consensus", "poses") == 2
    assert "--consensus poses needs a camera-to-world pose" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command(root, tmp_path / "out", "--consensus", "sequence", "--limit", "4", "--tuning.max_reject", "1") == 0
    table = pq.read_table(tmp_path / "out" / "consensus.parquet")
    assert set(table["reason"].to_pylist()) == {"votes"}  # the camera walks: each is judged alone


def copied(source: Path, target: Path) -> None:
    for path in source.rglob("*.*"):
        (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        (target / path.relative_to(source)).write_bytes(path.read_bytes())


def test_a_worker_without_the_planes_of_the_run_fails_as_a_whole(voted: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is not the file that this run began with"):
        LabelByPlane(None, ConsensusConfig(), str(voted / "consensus.parquet"), "0" * 64)  # type: ignore[arg-type]
    digest = hashlib.sha256((voted / "consensus.parquet").read_bytes()).hexdigest()
    moved = tmp_path / "planes"
    moved.write_bytes((voted / "consensus.parquet").read_bytes())
    sent = LabelByPlane(None, ConsensusConfig(), str(moved), digest)  # type: ignore[arg-type]
    moved.write_bytes(b"changed")
    planes_at.cache_clear()
    with pytest.raises(OSError, match="is not the file"):
        copy.copy(sent)  # made anew as in the process that it is sent to
