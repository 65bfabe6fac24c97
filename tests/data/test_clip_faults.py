"""Damaged data sets of clips: every fault is one sentence of ValueError or OSError, at opening or at the clip."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_cityscapes_clips
import test_folder_clips
import test_kitti_clips
import test_kitti_raw_clips
import test_stereo_clips

from fastseg.data.cityscapes_clips import CityscapesClips
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import RecordedClips
from fastseg.data.folder_clips import FolderClips
from fastseg.data.kitti_clips import KittiOdometry
from fastseg.data.kitti_raw_clips import KittiRaw
from fastseg.data.stereo_clips import StereoClips

BOTH, PAIR = ClipPlan(stereo=True), ClipPlan(offsets=(), stereo=True)
MADE: dict[str, tuple[Callable[[Path], Path], Callable[[Path], RecordedClips]]] = {
    "kitti-odometry": (test_kitti_clips.write, lambda root: KittiOdometry(root, BOTH)),
    "kitti-raw": (test_kitti_raw_clips.write, lambda root: KittiRaw(root, BOTH)),
    "cityscapes": (test_cityscapes_clips.write, lambda root: CityscapesClips(root, PAIR)),
    "folder": (test_folder_clips.write, FolderClips),
    "stereo": (test_stereo_clips.write, StereoClips),
}
WORDS = (b"nan", b"inf", b"-1", b"1e308", b"1e-308", b"", b"x", b"\0", b"\xff", b"9" * 400)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The file cut off, with some bytes changed, with one word replaced, or noise."""
    kind, changed, words = chance.randrange(4), bytearray(data), data.split(b" ")
    if kind == 0:
        return data[: chance.randrange(len(data) + 1)]
    if kind == 1:
        for _ in range(1 + chance.randrange(5)):
            changed[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(changed)
    if kind == 2:
        words[chance.randrange(len(words))] = chance.choice(WORDS)
        return b" ".join(words)
    return bytes(chance.randrange(256) for _ in range(chance.randrange(200)))


def outcome(root: Path, opened: Callable[[Path], RecordedClips]) -> str:
    """`clip`, or the sentence that refused the set or one of its clips; other exceptions pass."""
    try:
        clips = opened(root)
        for index in range(len(clips)):
            _, _, _, poses = clips.clip(index)
            assert poses is None or np.isfinite(poses).all()
            if isinstance(clips, StereoClips):
                depth = clips.depth(index)
                assert np.isfinite(depth).all() and depth.min() >= 0
    except (ValueError, OSError) as error:
        return str(error)
    return "clip"


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", MADE)
def test_a_damaged_set_is_refused_in_one_sentence_that_names_a_file(name: str, tmp_path: Path) -> None:
    write, opened = MADE[name]
    root = write(tmp_path)
    good = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    texts = [path for path in good if path.suffix in (".txt", ".json")]
    assert outcome(root, opened) == "clip"
    refused = 0
    for seed in range(40):
        chance = random.Random(seed)
        path = chance.choice(texts if seed % 2 else list(good))
        path.write_bytes(damaged(good[path], chance))
        said = outcome(root, opened)
        assert said == "clip" or (str(root) in said and "\n" not in said), (seed, path.name, said)
        refused += said != "clip"
        path.write_bytes(good[path])
    assert refused > 10


@pytest.mark.parametrize("name", MADE)
def test_links_out_of_the_set_are_refused(name: str, tmp_path: Path) -> None:
    write, opened = MADE[name]
    root = write(tmp_path / "root")
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        outside = tmp_path / f"outside{path.suffix}"
        path.rename(outside)
        path.symlink_to(outside)
        said = outcome(root, opened)
        path.unlink()
        outside.rename(path)
        assert "link" in said or "leads out" in said, (path.name, said)
