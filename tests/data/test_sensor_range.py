"""Depth beyond a sensor's range is no measurement; and readers that do not exist are answered with those that do."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from fastseg.data.layouts import LAYOUTS, check_reader
from fastseg.data.sensor_range import WithinRange
from fastseg.data.sources import Reader
from fastseg.frames import Camera, Frame

CAMERA = Camera(3.0, 3.0, 1.5, 0.0, 1, 4)


class One:
    """A FrameSource of one frame."""

    def __init__(self, depth: np.ndarray[tuple[int, ...], np.dtype[np.generic]], depth_scale: float) -> None:
        self.frame = Frame("scene/0", depth, depth_scale, CAMERA, b"colour")  # type: ignore[arg-type]

    def ids(self) -> list[str]:
        return ["scene/0"]

    def load(self, frame_id: str) -> Frame:
        return self.frame

    def inputs(self, frame_id: str) -> list[str]:
        return ["file"]


def test_units_beyond_the_range_become_no_measurement_and_the_rest_of_the_frame_stays() -> None:
    source = WithinRange(One(np.array([[0, 4499, 4500, 4501]], np.uint16), 0.001), 4.5)
    frame = source.load("scene/0")
    assert frame.depth.tolist() == [[0, 4499, 4500, 0]] and frame.depth.dtype == np.uint16
    assert (frame.image, frame.camera, frame.depth_scale) == (b"colour", CAMERA, 0.001)
    assert (source.ids(), source.inputs("scene/0"), source.scene("scene/0")) == (["scene/0"], ["file"], "scene")


def test_metres_beyond_the_range_become_no_measurement_and_nan_stays() -> None:
    depth = WithinRange(One(np.array([[np.nan, np.inf, 3.0, 3.1]], np.float32), 1.0), 3.0).load("scene/0").depth
    assert np.array_equal(depth, [[np.nan, 0, 3, 0]], equal_nan=True) and depth.dtype == np.float32


def test_a_range_beyond_all_units_changes_nothing_and_one_below_zero_is_refused() -> None:
    assert WithinRange(One(np.array([[0, 1, 2, 65535]], np.uint16), 0.001), 1e9).load("").depth[0, 3] == 65535
    with pytest.raises(ValueError, match="max_depth_m must be above 0; got 0"):
        WithinRange(One(np.zeros((1, 4), np.uint16), 1.0), 0.0)


def test_an_unknown_reader_is_answered_with_all_readers_and_what_each_looks_for() -> None:
    with pytest.raises(ValueError) as error:
        check_reader("7scnes")
    assert "did you mean 7scenes?" in str(error.value)
    assert all(f"{reader} ({LAYOUTS[reader]})" in str(error.value) for reader in get_args(Reader))
    check_reader("folder")
