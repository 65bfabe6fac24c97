from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.tum import Tum, associate, nearest, pose_matrix
from fastseg.frames import FrameError


def image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    depths, colors = [10.000, 10.033, 10.066, 10.5], [10.005, 10.040, 10.250]
    for time in depths:
        image(tmp_path / f"depth/{time:.3f}.png", np.full((480, 640), 7500, np.uint16))
    for time in colors:
        image(tmp_path / f"rgb/{time:.3f}.png", np.full((480, 640, 3), 9, np.uint8))
    header = "# color images\n# file: 'x.bag'\n# timestamp filename\n"
    (tmp_path / "depth.txt").write_text(header + "".join(f"{t:.6f} depth/{t:.3f}.png\n" for t in depths))
    (tmp_path / "rgb.txt").write_text(header + "".join(f"{t:.6f} rgb/{t:.3f}.png\n" for t in colors))
    half = math.sqrt(0.5)
    lines = [f"10.001 1 2 3 0 0 {half} {half}", "10.030 4 5 6 0 0 0 1", "10.8 0 0 0 0 0 0 1"]
    (tmp_path / "groundtruth.txt").write_text("# timestamp tx ty tz qx qy qz qw\n" + "\n".join(lines))
    return tmp_path


def test_depth_takes_the_nearest_colour_and_pose(root: Path) -> None:
    source = Tum(root)
    frame = source.load("depth/10.000")
    assert frame.depth_scale == pytest.approx(1 / 5000)
    assert frame.image == (root / "rgb" / "10.005.png").read_bytes()
    turned = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(frame.pose, turned, atol=1e-12)
    names = {Path(path).name for path in source.inputs("depth/10.000")}
    assert names == {"10.000.png", "10.005.png", "depth.txt", "rgb.txt", "groundtruth.txt"}


def test_every_listed_image_is_a_frame_and_the_unmatched_say_how_far_the_nearest_is(root: Path) -> None:
    source = Tum(root)
    assert source.ids() == ["depth/10.000", "depth/10.033", "depth/10.066", "depth/10.500", "rgb/10.250"]
    for name, gap in (("depth/10.066", 0.026), ("depth/10.500", 0.25), ("rgb/10.250", 0.184)):
        with pytest.raises(FrameError, match="the nearest is") as caught:
            source.load(name)
        assert caught.value.reason == "missing" and caught.value.value == pytest.approx(gap, abs=1e-6)


def test_a_pose_too_far_in_time_is_none(root: Path) -> None:
    (root / "groundtruth.txt").write_text("10.8 0 0 0 0 0 0 1\n")
    assert Tum(root).load("depth/10.033").pose is None


def test_pairs_are_taken_in_order_of_time_difference_and_once() -> None:
    assert associate([1.00, 1.01], [1.011], 0.02) == {1: 0}
    assert associate([1.00, 1.02], [1.015, 1.005], 0.02) == {0: 1, 1: 0}
    assert associate([1.0], [1.03], 0.02) == {} == associate([], [1.0], 0.02)


def test_pairs_equal_those_of_the_exhaustive_greedy_choice() -> None:
    rng = np.random.default_rng(3)
    first, second = list(np.sort(rng.uniform(0, 2, 60))), list(rng.uniform(0, 2, 50))
    gaps = sorted((abs(a - b), i, j) for i, a in enumerate(first) for j, b in enumerate(second) if abs(a - b) <= 0.02)
    expected: dict[int, int] = {}
    for _, i, j in gaps:
        if i not in expected and j not in expected.values():
            expected[i] = j
    assert associate(first, second, 0.02) == expected


def test_nearest_of_nothing_is_infinitely_far() -> None:
    assert nearest([], 1.0) == math.inf and nearest([1.0, 2.0], 1.6) == 2.0


def test_a_quaternion_turns_as_its_axis_and_angle_say() -> None:
    axis, angle = np.array([1.0, 2.0, -2.0]) / 3, 0.7
    pose = pose_matrix((0, 0, 0, *(axis * math.sin(angle / 2)), math.cos(angle / 2)))
    np.testing.assert_allclose(pose[:3, :3] @ axis, axis, atol=1e-12)
    assert np.trace(pose[:3, :3]) == pytest.approx(1 + 2 * math.cos(angle))
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)


def test_a_quaternion_of_another_length_is_no_pose(root: Path) -> None:
    (root / "groundtruth.txt").write_text("10.0 0 0 0 0 0 0 0\n")
    with pytest.raises(FrameError, match=r"groundtruth\.txt") as caught:
        Tum(root).load("depth/10.000")
    assert caught.value.reason == "type"


def test_the_camera_is_chosen_explicitly(root: Path) -> None:
    assert Tum(root).camera.fx == 525 and Tum(root, camera="freiburg3").camera.fy == 539.2
    about = {"fx": 500, "fy": 500, "cx": 320, "cy": 240, "width": 640, "height": 480, "depth_scale": 0.001}
    (root / "intrinsics.json").write_text(json.dumps(about))
    assert Tum(root).load("depth/10.000").depth_scale == 0.001
    assert Tum(root).camera.fx == 500 and Tum(root, camera="freiburg1").camera.fx == 517.3
    with pytest.raises(ValueError, match="not both"):
        Tum(root, camera="freiburg1", intrinsics=root / "intrinsics.json")


@pytest.mark.parametrize("line", ["nan depth/a.png", "depth/a.png 1.0", "x"])
def test_a_line_without_a_time_is_refused(root: Path, line: str) -> None:
    (root / "depth.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"depth\.txt: expected a line to begin with a time"):
        Tum(root)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../b.png", "depth/" + "x" * 300 + ".png"])
def test_a_listed_path_cannot_leave_the_root(root: Path, name: str) -> None:
    (root / "depth.txt").write_text(f"1.0 {name}\n")
    with pytest.raises(FrameError) as caught:
        Tum(root)
    assert caught.value.reason == "id"


def test_a_recording_without_lists_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"depth\.txt"):
        Tum(tmp_path)
