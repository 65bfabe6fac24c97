from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastseg.data.intrinsics import read_intrinsics
from fastseg.frames import FrameError

GOOD = {"fx": 40, "fy": 41.5, "cx": 20, "cy": 16, "width": 41, "height": 33, "depth_scale": 0.001}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "intrinsics.json"
    path.write_text(text)
    return path


def test_the_camera_and_the_folders_are_read(tmp_path: Path) -> None:
    about = read_intrinsics(written(tmp_path, json.dumps({**GOOD, "color": "rgb"})))
    assert (about.camera.fx, about.camera.fy, about.camera.height, about.camera.width) == (40, 41.5, 33, 41)
    assert (about.depth_scale, about.color, about.depth, about.poses) == (0.001, "rgb", "depth", "poses")


@pytest.mark.parametrize(
    "change",
    [
        {"fx": float("nan")},
        {"fx": 1e9},
        {"fx": 0},
        {"cx": -9000},
        {"fy": None},
        {"fy": "40"},
        {"fx": True},
        {"width": 40.5},
        {"width": float("inf")},
        {"height": 0},
        {"height": 10**400},
        {"depth_scale": "mm"},
        {"depht_scale": 0.001},
        {"depth": 3},
        {"color": "../rgb"},
    ],
)
def test_absurd_intrinsics_are_refused_naming_the_file(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(FrameError, match=r"intrinsics\.json"):
        read_intrinsics(written(tmp_path, json.dumps({**GOOD, **change})))


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_depth_scale_that_is_no_length_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(ValueError, match="depth_scale must be a positive number"):
        read_intrinsics(written(tmp_path, json.dumps({**GOOD, "depth_scale": scale})))


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_text_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FrameError, match="expected a JSON object"):
        read_intrinsics(written(tmp_path, text))


def test_a_missing_file_says_which_keys_it_needs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="fx, fy, cx, cy, width, height, depth_scale"):
        read_intrinsics(tmp_path / "intrinsics.json")
