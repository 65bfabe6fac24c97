"""The op `hn_labels_given` (up and floor known) against its reference and against `hn_labels`, on every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastseg.data.rooms import Rooms
from fastseg.frames import Camera
from fastseg.ops.hn_labels import IGNORE, VERDICTS, HNLabels, hn_labels, hn_labels_given
from fastseg.reference import hn_labels as reference

Put = Callable[[Any], Any]
SMALL: dict[str, Any] = {"radius": 2, "max_residual": 0.02}
CAMERA = Camera(9, 9, 4, 4, 8, 9)


def room(number: int, noise: bool = True) -> tuple[Any, Any]:
    rooms = Rooms(23, 24, 31, 43, noise=noise, views=1)
    frame_id = rooms.ids()[number]
    exact = rooms.truth(frame_id)
    return rooms.record(frame_id, exact), exact


def run(put: Put, get: Put, depth: Any, camera: Camera, up: Any, floor_m: Any, **options: Any) -> HNLabels:
    made = hn_labels_given(put(depth), camera, up, floor_m, **options)
    return HNLabels(**{name: None if value is None else get(value) for name, value in vars(made).items()})


@pytest.mark.parametrize("noise", [False, True])
def test_agrees_with_the_reference(device: str, put: Put, get: Put, noise: bool) -> None:
    frame, exact = room(4, noise)
    made = run(put, get, frame.depth, frame.camera, exact.up, exact.floor_m, depth_scale=frame.depth_scale, **SMALL)
    wanted = reference.hn_labels_given(
        frame.depth, frame.camera, exact.up, exact.floor_m, depth_scale=frame.depth_scale, **SMALL
    )
    assert (made.label[0] == wanted).mean() > 0.99  # pixels at an edge of a bin, in float32 and in double
    np.testing.assert_allclose(made.up[0], exact.up, atol=1e-6)  # float32
    floor, _, valid, apart = made.figures[0]
    assert floor == pytest.approx(exact.floor_m, abs=1e-6) and np.isnan(apart)
    assert valid == pytest.approx((frame.depth > 0).mean(), abs=1e-6)
    counts = np.bincount(made.label[made.label != IGNORE], minlength=20)
    np.testing.assert_array_equal(made.histogram[0], counts)


def test_given_what_was_found_gives_the_same_label(device: str, put: Put, get: Put) -> None:
    frame, _ = room(2)
    options: dict[str, Any] = {"depth_scale": frame.depth_scale, **SMALL}
    found = hn_labels(put(frame.depth), frame.camera, gravity_radius=3, stride=2, **options)
    up, figures = get(found.up), get(found.figures)
    given = run(put, get, frame.depth, frame.camera, up[0], figures[0, 0], **options)
    assert (given.label == get(found.label)).mean() > 0.998  # up is made unit once more
    np.testing.assert_allclose(given.figures[0, 1:3], figures[0, 1:3], atol=0.06)  # some ten lowest points


def test_a_batch_of_planes_equals_single_frames(device: str, put: Put, get: Put) -> None:
    pairs = [room(n) for n in (1, 2, 3)]
    depth = np.stack([frame.depth for frame, _ in pairs])
    ups, floors = np.stack([e.up for _, e in pairs]), np.array([e.floor_m for _, e in pairs])
    every = ("label", "points", "normals")
    together = run(put, get, depth, pairs[0][0].camera, ups, floors, depth_scale=0.001, outputs=every, **SMALL)
    for n, (frame, exact) in enumerate(pairs):
        alone = run(
            put, get, frame.depth, frame.camera, exact.up, exact.floor_m, depth_scale=0.001, outputs=every, **SMALL
        )
        for name, value in vars(together).items():
            np.testing.assert_array_equal(value[n], getattr(alone, name)[0], err_msg=name)


def test_a_wall_without_a_floor_in_view_is_labelled_by_its_height(device: str, put: Put, get: Put) -> None:
    camera = Camera(80, 80, 39.5, 29.5, 60, 80)
    made = run(put, get, np.full((60, 80), 2, np.float32), camera, np.array([0.0, -1.0, 0.0]), -1.3, min_valid=0.5)
    rows = np.arange(60)[5:-5]
    heights = 1.3 - (rows - 29.5) / 80 * 2
    wanted = 10 + np.minimum(np.floor(heights / 0.25), 9).astype(int)
    assert VERDICTS[made.verdict[0]] == "accepted" and made.figures[0, 1] == 0
    np.testing.assert_array_equal(made.label[0, 5:-5, 5:-5], np.repeat(wanted[:, None], 70, 1))


def test_a_frame_without_depth_is_judged_and_ignored(device: str, put: Put, get: Put) -> None:
    made = run(put, get, np.zeros((8, 9), np.float32), CAMERA, np.array([0.0, -1.0, 0.0]), -1.0, radius=1)
    assert VERDICTS[made.verdict[0]] == "no-depth" and (made.label == IGNORE).all() and made.figures[0, 2] == 0


def test_an_empty_batch_is_answered_empty(device: str, put: Put, get: Put) -> None:
    made = run(put, get, np.zeros((0, 8, 9), np.float32), CAMERA, np.array([0.0, -1.0, 0.0]), -1.0)
    assert made.label.shape == (0, 8, 9) and made.histogram.shape == (0, 20)


@pytest.mark.parametrize(
    ("up", "floor_m", "words"),
    [
        (np.zeros(3), 0.0, "up must be finite and not zero"),
        (np.full(3, np.nan), 0.0, "up must be finite"),
        (np.ones(4), 0.0, r"up must be \(3,\)"),
        (np.ones(3), float("nan"), "floor_m must be a finite number"),
        (np.ones(3), np.zeros(2), "floor_m must be"),
    ],
)
def test_planes_that_are_none_are_refused(up: Any, floor_m: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hn_labels_given(np.zeros((8, 9), np.float32), CAMERA, up, floor_m)
