"""The rooms of the depth study: a camera that slides, pictures of other rooms, nothing shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.study_rooms import CLEAR, cli, slide
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clip_sources import open_clips
from fastseg.data.rooms import clearance, make_room
from fastseg.data.sources import open_labelled


def test_a_camera_slides_to_its_right_and_touches_nothing() -> None:
    for seed in (3, 4):
        room = make_room(seed)
        path = slide(room, 8)
        moved = np.einsum("nji,nj->ni", path[:-1, :3, :3], np.diff(path[:, :3, 3], axis=0))  # in the camera's frame
        assert (moved[:, 0] > 0.015).all() and (np.abs(moved[:, 1:]) < 0.015).all()
        turned = np.einsum("nji,njk->nik", path[:-1, :3, :3], path[1:, :3, :3])
        assert (np.trace(turned, axis1=1, axis2=2) > 1 + 2 * np.cos(np.radians(0.21))).all()
        assert min(clearance(room, place) for place in path[:, :3, 3]) >= CLEAR


def test_video_and_labelled_rooms_are_written_as_the_study_reads_them(tmp_path: Path) -> None:
    words = ["--rooms", "2", "--views", "5", "--labelled", "2", "--size", "[48,64]", "--seed", "5"]
    assert cli(["--out", str(tmp_path), *words]) == 0
    clips = open_clips("folder", tmp_path / "video", ClipPlan((-2, 2), poses="learned"))
    assert clips.ids() == ["room-000000/view-0002", "room-000001/view-0002"]
    target, sources, camera, _ = clips.clip(0)
    assert target.shape == (48, 64, 3) and sources.shape[0] == 2 and camera is not None
    splits = [open_labelled("folder", tmp_path / "labelled", split).ids() for split in ("train", "val")]
    assert [len(ids) for ids in splits] == [2, 2] and not set(splits[0]) & set(splits[1])
