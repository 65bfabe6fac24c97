from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from clip_kits import BASELINE, WIDTH, check_geometry, walk
from recorded import encoded, put

from fastseg.data.clip_plan import ClipPlan
from fastseg.data.kitti_clips import KittiOdometry, read_times
from fastseg.frames import FrameError

LEFT = 0.06  # metres of camera 2 to the left of camera 0
PAIR = ClipPlan(offsets=(), stereo=True)


def calib(baseline: float = BASELINE) -> str:
    """As KITTI writes it: P0 to P3 with names; X_2 = X_0 + LEFT, X_3 = X_2 - baseline."""
    k, rows = walk().camera, []
    for name, x in (("P0", 0), ("P1", -baseline), ("P2", LEFT), ("P3", LEFT - baseline)):
        row = [k.fx, 0, k.cx, k.fx * x, 0, k.fy, k.cy, 0, 0, 0, 1, 0]
        rows.append(f"{name}: " + " ".join(f"{value:.12e}" for value in row))
    return "\n".join(rows) + "\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n"


def poses() -> str:
    """Those of camera 0: the walk's left camera is camera 2, which stands LEFT metres to its left."""
    lines = []
    for frame in walk().left:
        pose = frame.pose.copy()
        pose[:3, 3] += pose[:3, :3] @ [LEFT, 0, 0]
        lines.append(" ".join(f"{value:.9e}" for value in pose[:3].ravel()))
    return "\n".join(lines) + "\n"


def write(root: Path, frames: tuple[int, ...] = (0, 1, 2, 3, 4), posed: bool = True) -> Path:
    sequence = root / "sequences" / "07"
    for k in frames:
        put(sequence / "image_2" / f"{k:06d}.png", encoded(walk().left[k].color))
        put(sequence / "image_3" / f"{k:06d}.png", encoded(walk().right[k].color))
    put(sequence / "calib.txt", calib())
    put(sequence / "times.txt", "".join(f"{0.1036 * k:e}\n" for k in range(5)))
    if posed:
        put(root / "poses" / "07.txt", poses())
    return root


def test_video_of_both_colour_cameras_has_the_poses_of_each(tmp_path: Path) -> None:
    clips = KittiOdometry(write(tmp_path))
    both = [f"sequences/07/image_{camera}/{k:06d}" for camera in (2, 3) for k in (1, 2, 3)]
    assert clips.ids() == both
    for index, side in ((1, walk().left), (4, walk().right)):
        target, sources, camera, known = clips.clip(index)
        np.testing.assert_array_equal(target, side[2].color)
        np.testing.assert_array_equal(sources, [side[1].color, side[3].color])
        check_geometry(target, sources, camera, known, side[2].depth)


def test_a_pair_gives_targets_of_both_cameras_with_the_known_baseline(tmp_path: Path) -> None:
    clips = KittiOdometry(write(tmp_path), PAIR)
    assert len(clips) == 10
    for index, x, depth in ((0, -BASELINE, walk().left[0].depth), (5, BASELINE, walk().right[0].depth)):
        target, sources, camera, known = clips.clip(index)
        assert known is not None and known.shape == (1, 4, 4)
        np.testing.assert_allclose(known[0, :3, 3], [x, 0, 0], atol=1e-6)
        check_geometry(target, sources, camera, known, depth)


def test_video_and_pair_together_take_the_poses_of_the_drive(tmp_path: Path) -> None:
    plan = ClipPlan(stereo=True)
    target, sources, camera, known = KittiOdometry(write(tmp_path / "a"), plan).clip(0)
    assert len(sources) == 3
    check_geometry(target, sources, camera, known, walk().left[1].depth)
    with pytest.raises(ValueError, match="image_2/000001: expected a camera-to-world pose for each frame"):
        KittiOdometry(write(tmp_path / "b", posed=False), plan)
    assert KittiOdometry(tmp_path / "b").clip(0)[3] is None


def test_a_recording_ends_where_a_frame_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a recording of 3 frames or more.*the longest has 2"):
        KittiOdometry(write(tmp_path, (0, 1, 3, 4)))


def test_one_sequence_is_a_root_too_and_clips_travel_to_other_processes(tmp_path: Path) -> None:
    root = write(tmp_path) / "sequences" / "07"
    put(root / "poses.txt", poses())
    clips = KittiOdometry(root)
    assert clips.ids()[0] == "image_2/000001"
    before, after = clips.clip(0), pickle.loads(pickle.dumps(clips)).clip(0)
    np.testing.assert_array_equal(before[3], after[3])


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [("calib.txt", "P0: 1 2 3\n", "expected P2, twelve finite numbers; it has none"),
     ("calib.txt", "P2: a b\n", "expected numbers in line 1"),
     ("calib.txt", calib(-BASELINE), r"expected camera 3 0\.01 to 10 m to the right of camera 2; got -0\.2"),
     ("calib.txt", calib(0), "to the right of camera 2; got"), ("calib.txt", "P2: " + "0 " * 12, "focal lengths"),
     ("times.txt", "0\n1\n", "expected a time for each frame to 4; there are 2"),
     ("times.txt", "0\nx\n2\n3\n4\n", "expected seconds in line 2; got 'x'")],
)  # fmt: skip
def test_what_a_sequence_says_wrong_is_named_in_one_sentence(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    put(write(tmp_path) / "sequences" / "07" / name, text)
    with pytest.raises(ValueError, match=sentence) as caught:
        KittiOdometry(tmp_path, PAIR).clip(0)
    assert "sequences/07" in str(caught.value) and "\n" not in str(caught.value)


def test_a_pair_of_exchanged_cameras_is_found_in_its_pictures(tmp_path: Path) -> None:
    root = write(tmp_path) / "sequences" / "07"
    for k, (left, right) in enumerate(zip(walk().left, walk().right, strict=True)):
        put(root / "image_2" / f"{k:06d}.png", encoded(right.color))
        put(root / "image_3" / f"{k:06d}.png", encoded(left.color))
    with pytest.raises(ValueError, match="they seem swapped, for the disparity is negative"):
        KittiOdometry(tmp_path, PAIR)


def test_bad_frames_and_poses_are_refused_one_by_one(tmp_path: Path) -> None:
    write(tmp_path)
    put(tmp_path / "poses" / "07.txt", poses().split("\n")[0] + "\n")
    clips = KittiOdometry(tmp_path)
    with pytest.raises(FrameError, match=r"07\.txt: expected 12 numbers.* in row 1.*it has 1 rows"):
        clips.clip(0)
    picture = tmp_path / "sequences/07/image_2/000002.png"
    picture.write_bytes(picture.read_bytes()[:99])
    with pytest.raises(FrameError, match=r"000002\.png") as caught:
        clips.clip(0)
    assert caught.value.reason == "decode"
    put(picture, encoded(np.zeros((8, WIDTH, 3), np.uint8)))
    with pytest.raises(FrameError, match="of one size"):
        clips.clip(0)


def test_a_folder_without_pictures_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected pictures of KITTI, sequences/NN/image_2/N\.png"):
        KittiOdometry(tmp_path)
    with pytest.raises(ValueError, match="cameras must be colour or grey"):
        KittiOdometry(tmp_path, cameras="infrared")  # type: ignore[arg-type]
    assert read_times(put(tmp_path / "times.txt", "0\n1e-1\n")) == [0, 0.1]


def test_sequence_06_gives_video_with_poses_and_the_pair_of_frame_12(shared_data: Path) -> None:
    root = shared_data / "kitti06"
    clips = KittiOdometry(root, cameras="grey")
    assert clips.ids() == [f"image_0/{k:06d}" for k in range(1, 20)]
    target, sources, camera, known = clips.clip(11)
    assert target.shape == (370, 1226, 3) and len(sources) == 2 and known is not None
    assert camera is not None and camera.fx == 707.0912
    assert abs(known[0, 2, 3]) > 0.5 and known[0, 2, 3] * known[1, 2, 3] < 0  # forwards some metres a frame
    pair = KittiOdometry(root, PAIR, "grey")
    assert pair.ids() == ["image_0/000012", "image_1/000012"]
    np.testing.assert_allclose([pair.clip(i)[3][0, 0, 3] for i in (0, 1)], [-0.5372, 0.5372], atol=1e-4)  # type: ignore[index]
    colour = KittiOdometry(root)
    assert colour.ids() == ["image_2/000013"]
    with pytest.raises(FrameError, match="expected P2, twelve finite numbers; it has P0, P1"):
        colour.clip(0)
