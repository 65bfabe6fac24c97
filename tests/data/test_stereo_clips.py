from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from clip_kits import BASELINE, HEIGHT, WIDTH, check_geometry, walk, warp_errors
from recorded import encoded, put

from fastseg.data.clip_plan import ClipPlan
from fastseg.data.stereo_clips import StereoClips, checked_disparity
from fastseg.frames import FrameError


def about(**values: object) -> str:
    return json.dumps({**asdict(walk().camera), "baseline": BASELINE, **values})


def disparity(number: int, doffs: float = 0) -> np.ndarray:
    depth = walk().left[number].depth
    return (walk().camera.fx * BASELINE / depth - doffs).astype(np.float32)


def put_array(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def write(root: Path) -> Path:
    for k in range(2):
        put(root / "left" / "a" / f"{k}.png", encoded(walk().left[k].color))
        put(root / "right" / "a" / f"{k}.png", encoded(walk().right[k].color))
        put_array(root / "disparity" / "a" / f"{k}.npy", disparity(k))
    put(root / "stereo.json", about())
    return root


def test_pairs_have_their_pose_and_depth_of_disparity(tmp_path: Path) -> None:
    clips = StereoClips(write(tmp_path))
    assert clips.ids() == ["a/0", "a/1"]
    target, sources, camera, poses = clips.clip(1)
    np.testing.assert_array_equal(target, walk().left[1].color)
    np.testing.assert_array_equal(sources, [walk().right[1].color])
    np.testing.assert_allclose(clips.depth(1), walk().left[1].depth, rtol=1e-5)
    check_geometry(target, sources, camera, poses, clips.depth(1))


def test_disparity_supervises_single_frames_and_may_be_sixteen_bits(tmp_path: Path) -> None:
    write(tmp_path)
    for path in (tmp_path / "disparity" / "a").iterdir():
        path.unlink()
    stored = np.rint(disparity(0) * 64).astype(np.uint16)
    stored[:5] = 0
    put(tmp_path / "disparity" / "a" / "0.png", encoded(stored))
    put(tmp_path / "stereo.json", about(disparity_scale=1 / 64))
    clips = StereoClips(tmp_path, ClipPlan(offsets=()))
    assert clips.clip(0)[1].shape == (0, HEIGHT, WIDTH, 3) and not clips.depth(0)[:5].any()
    np.testing.assert_allclose(clips.depth(0)[5:], walk().left[0].depth[5:], rtol=0.01)
    with pytest.raises(FrameError, match="expected the frame's disparity"):
        clips.depth(1)


@pytest.mark.parametrize("doffs", [12, 7.5, -9])
def test_cameras_of_two_principal_points_are_brought_to_one(tmp_path: Path, doffs: float) -> None:
    write(tmp_path)
    wide = np.pad(walk().right[0].color, ((0, 0), (20, 20), (0, 0)), mode="edge").astype(float)
    at = np.arange(WIDTH) + 20 - doffs  # the right camera's picture, its principal point doffs further right
    low, part = np.floor(at).astype(int), (at % 1)[None, :, None]
    put(
        tmp_path / "right/a/0.png",
        encoded(np.rint(wide[:, low] * (1 - part) + wide[:, low + 1] * part).astype(np.uint8)),
    )
    put_array(tmp_path / "disparity/a/0.npy", disparity(0, doffs))
    put(tmp_path / "stereo.json", about(doffs=doffs))
    clips = StereoClips(tmp_path)
    target, sources, camera, poses = clips.clip(0)
    width = WIDTH - int(np.ceil(abs(doffs)))
    assert target.shape == sources[0].shape == (HEIGHT, width, 3) and camera is not None and camera.width == width
    first = max(0, int(np.ceil(-doffs)))
    assert camera.cx == walk().camera.cx - first
    seen = disparity(0, doffs)[:, first : first + width] > 0
    np.testing.assert_allclose(clips.depth(0)[seen], walk().left[0].depth[:, first : first + width][seen], rtol=1e-4)
    check_geometry(target, sources, camera, poses, clips.depth(0))


def test_disparity_that_is_zero_nan_or_negative_is_refused_in_one_sentence(tmp_path: Path) -> None:
    clips = StereoClips(write(tmp_path))
    cases = ((np.zeros, "0 or NaN everywhere", "no-depth"), (lambda s: np.full(s, np.nan), "0 or NaN", "no-depth"),
             (lambda s: np.full(s, -3.0), "most of it is negative: are the pictures swapped", "type"))  # fmt: skip
    for make, sentence, reason in cases:
        put_array(tmp_path / "disparity/a/0.npy", make((HEIGHT, WIDTH)).astype(np.float32))
        with pytest.raises(FrameError, match=sentence) as caught:
            clips.depth(0)
        assert caught.value.reason == reason and "0.npy" in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_disparity_is_no_measurement() -> None:
    given = np.array([[4, 0, -1, np.nan, np.inf, 2]], np.float32)
    np.testing.assert_array_equal(checked_disparity(given, "a"), [[4, 0, 0, 0, 0, 2]])


def test_swapped_folders_are_found(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "left").rename(tmp_path / "other")
    (tmp_path / "right").rename(tmp_path / "left")
    (tmp_path / "other").rename(tmp_path / "right")
    with pytest.raises(ValueError, match="they seem swapped, for the disparity is negative"):
        StereoClips(tmp_path)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [({"baseline": -1}, "expected a baseline in metres; got -1"), ({"baseline": None}, "expected a number 'baseline'"),
     ({"doffs": 1e6}, "expected doffs in pixels"), ({"disparity_scale": 0}, "expected disparity_scale above 0"),
     ({"fx": 0}, "focal lengths"), ({"focal": 3}, "unknown keys 'focal'"), ({"width": 99}, "must be 99x96")],
)  # fmt: skip
def test_a_calibration_that_makes_no_sense_is_refused(tmp_path: Path, values: dict[str, object], sentence: str) -> None:
    put(write(tmp_path) / "stereo.json", about(**values))
    with pytest.raises(FrameError, match=sentence) as caught:
        StereoClips(tmp_path)
    assert "stereo.json" in str(caught.value)


def test_what_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"stereo\.json: expected fx, fy, cx, cy, width, height and baseline"):
        StereoClips(tmp_path)
    put(tmp_path / "stereo.json", about())
    with pytest.raises(ValueError, match=r"left: expected pictures left/NAME\.png and right/NAME\.png"):
        StereoClips(tmp_path)
    put(tmp_path / "left" / "a.png", encoded(walk().left[0].color))
    put(tmp_path / "right" / "b.png", encoded(walk().left[0].color))
    with pytest.raises(ValueError, match="no picture has one of the other camera"):
        StereoClips(tmp_path)


def test_the_motorcycle_warps_by_its_true_disparity(shared_data: Path, tmp_path: Path) -> None:
    given = shared_data / "stereo_motorcycle"
    for side in ("left", "right"):
        put(tmp_path / side / "0.png", (given / f"motorcycle_{side}.png").read_bytes())
    with np.load(given / "motorcycle_disp.npz", allow_pickle=False) as stored:
        put_array(tmp_path / "disparity" / "0.npy", stored["arr_0"])
    numbers = {"fx": 994.978, "fy": 994.978, "cx": 311.193, "cy": 254.877, "width": 741, "height": 500}
    put(tmp_path / "stereo.json", json.dumps({**numbers, "baseline": 0.193001, "doffs": 31.086}))
    clips = StereoClips(tmp_path)
    target, sources, camera, poses = clips.clip(0)
    depth = clips.depth(0)
    assert target.shape == (500, 709, 3) and camera is not None and poses is not None
    assert 2 < np.median(depth[depth > 0]) < 4 and (depth == 0).mean() < 0.1
    warped, still = warp_errors(target, sources[0], camera, poses[0], depth)
    assert warped < 0.35 * still and warped < 10, (warped, still)
