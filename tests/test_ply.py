from __future__ import annotations

import numpy as np
import pytest

from fastseg.ply import moved, ply_bytes


def parsed(data: bytes) -> tuple[list[str], np.ndarray]:
    head, body = data.split(b"end_header\n", 1)
    return head.decode().splitlines(), np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))


def test_points_and_colours_come_back() -> None:
    points = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 5.0]], np.float32)
    colours = np.array([[1, 2, 3], [250, 251, 252]], np.uint8)
    head, vertices = parsed(ply_bytes(points, colours))
    assert head[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 2"]
    assert head[3:] == [f"property float {a}" for a in "xyz"] + [
        f"property uchar {c}" for c in ("red", "green", "blue")
    ]
    assert np.array_equal(vertices["xyz"], points) and np.array_equal(vertices["rgb"], colours)


def test_points_that_are_not_finite_are_left_out() -> None:
    points = np.array([[np.nan, 0, 0], [1, 2, 3], [np.inf, 0, 0]])
    head, vertices = parsed(ply_bytes(points, np.eye(3, dtype=np.uint8)))
    assert "element vertex 1" in head and vertices["rgb"].tolist() == [[0, 1, 0]]


def test_clouds_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must both be \(N, 3\); got \(2, 3\) and \(1, 3\)"):
        ply_bytes(np.zeros((2, 3)), np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        ply_bytes(np.zeros((2, 3)), np.zeros((2, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one finite point"):
        ply_bytes(np.full((2, 3), np.nan), np.zeros((2, 3), np.uint8))


def test_a_pose_moves_camera_points_into_the_world() -> None:
    pose = np.array([[0, 0, 1, 10], [1, 0, 0, 20], [0, 1, 0, 30], [0, 0, 0, 1.0]])
    assert moved(np.array([[1.0, 2.0, 3.0]]), pose).tolist() == [[13.0, 21.0, 32.0]]
