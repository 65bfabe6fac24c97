"""The op `hn_labels` against its reference and against rooms whose truth is known, on every device there is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastseg.data.rooms import Rooms
from fastseg.frames import Camera
from fastseg.ops.hn_labels import IGNORE, VERDICTS, HNLabels, hn_labels, uniform_edges
from fastseg.reference import hn_labels as reference

Put = Callable[[Any], Any]
SMALL: dict[str, Any] = {"radius": 2, "gravity_radius": 3, "stride": 2, "max_residual": 0.02}


@functools.cache
def showing_floor() -> list[str]:
    """Ids of frames with at least 8 % floor, judged on thumbnails."""
    small = Rooms(23, 24, 30, 40, views=1)
    return [i for i in small.ids() if small.truth(i).floor_fraction > 0.08]


@functools.cache
def room(number: int, height: int, width: int, noise: bool) -> tuple[Any, Any]:
    """A frame that shows floor, and its truth."""
    rooms = Rooms(23, 24, height, width, noise=noise, views=1)
    frame_id = showing_floor()[number]
    exact = rooms.truth(frame_id)
    return rooms.record(frame_id, exact), exact


def apart_deg(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.rad2deg(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def run(put: Put, get: Put, frame: Any, **options: Any) -> HNLabels:
    made = hn_labels(put(frame.depth), frame.camera, depth_scale=frame.depth_scale, **options)
    return HNLabels(**{name: None if value is None else get(value) for name, value in vars(made).items()})


def written(made: HNLabels) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(made).items() if value is not None]


@pytest.mark.parametrize("gravity", ["manhattan", "floor_wall"])
@pytest.mark.parametrize("noise", [False, True])
def test_agrees_with_the_reference(device: str, put: Put, get: Put, noise: bool, gravity: Any) -> None:
    frame, _ = room(0, 31, 43, noise)
    made = run(put, get, frame, gravity=gravity, **SMALL)
    wanted = reference.hn_labels(frame.depth, frame.camera, depth_scale=frame.depth_scale, gravity=gravity, **SMALL)
    floor, aligned, valid, apart = made.figures[0]
    assert VERDICTS[made.verdict[0]] == wanted.verdict
    assert apart_deg(made.up[0], wanted.up) < 0.02  # float32 sums over a thousand normals
    assert floor == pytest.approx(wanted.floor_m, abs=2e-3)  # up's difference times a few metres
    assert aligned == pytest.approx(wanted.aligned_fraction, abs=0.06)  # some fifty lowest points
    assert valid == pytest.approx(wanted.valid_fraction, abs=1e-6)
    assert apart == pytest.approx(wanted.disagreement_deg, abs=0.03)
    assert (made.label[0] == wanted.label).mean() > 0.98  # pixels at an edge of a bin or of a definition


def test_the_floor_is_an_exact_order_statistic(device: str, put: Put, get: Put) -> None:
    frame, _ = room(1, 31, 43, noise=True)
    for percentile in (0.0, 1.0, 37.5, 100.0):
        made = run(put, get, frame, percentile=percentile, **SMALL)
        z = frame.depth.astype(np.float32) * np.float32(frame.depth_scale)
        v, u = np.nonzero(z > 0)
        k, up, z = frame.camera, made.up[0].astype(np.float64), z[z > 0].astype(np.float64)
        heights = np.sort(up @ np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z]))
        wanted = heights[int(percentile / 100 * (len(heights) - 1))]
        assert made.figures[0, 0] == pytest.approx(wanted, abs=2e-6 * np.abs(heights).max())  # float32 heights


def test_histogram_counts_the_labels(device: str, put: Put, get: Put) -> None:
    frame, _ = room(2, 31, 43, noise=True)
    made = run(put, get, frame, **SMALL)
    counts = np.bincount(made.label[made.label != IGNORE], minlength=20)
    np.testing.assert_array_equal(made.histogram[0], counts)


def test_batch_equals_single_frames(device: str, put: Put, get: Put) -> None:
    frames = [room(n, 31, 43, noise=True)[0] for n in range(3)]
    depth = np.stack([f.depth for f in frames])
    together = hn_labels(put(depth), frames[0].camera, depth_scale=0.001, threads=2, **SMALL)
    for n, frame in enumerate(frames):
        alone = run(put, get, frame, **SMALL)
        for name, value in written(together):
            np.testing.assert_array_equal(get(value)[n], getattr(alone, name)[0], err_msg=name)


def test_a_frame_without_depth_is_judged_and_ignored(device: str, put: Put, get: Put) -> None:
    camera = Camera(40, 40, 20, 15, 30, 40)
    made = hn_labels(put(np.zeros((30, 40), np.float32)), camera, **SMALL)
    assert VERDICTS[get(made.verdict)[0]] == "no-depth"
    assert (get(made.label) == IGNORE).all() and (get(made.histogram) == 0).all()
    assert np.isnan(get(made.figures)[0, 0]) and get(made.figures)[0, 2] == 0


def test_one_valid_pixel_makes_no_label(device: str, put: Put, get: Put) -> None:
    depth = np.zeros((30, 40), np.float32)
    depth[11, 13] = 2
    made = hn_labels(put(depth), Camera(40, 40, 20, 15, 30, 40), min_valid=0, **SMALL)
    assert VERDICTS[get(made.verdict)[0]] == "gravity"
    assert (get(made.label) == IGNORE).all()


def test_a_bare_wall_is_rejected(device: str, put: Put, get: Put) -> None:
    made = hn_labels(put(np.full((60, 80), 2, np.float32)), Camera(80, 80, 39.5, 29.5, 60, 80), **SMALL)
    assert VERDICTS[get(made.verdict)[0]] in ("gravity", "no-floor")  # every direction in the wall may be up
    assert get(made.figures)[0, 1] == 0


def test_an_empty_batch_is_answered_empty(device: str, put: Put, get: Put) -> None:
    made = hn_labels(put(np.zeros((0, 30, 40), np.float32)), Camera(40, 40, 20, 15, 30, 40), **SMALL)
    assert get(made.label).shape == (0, 30, 40) and get(made.histogram).shape == (0, 20)


@pytest.mark.parametrize("gravity", ["manhattan", "floor_wall"])
def test_exact_rooms_give_exact_gravity_and_floor(device: str, put: Put, get: Put, gravity: Any) -> None:
    if device == "emu":
        pytest.skip("whole frames take the emulator too long; the sizes above cover its kernels")
    for number in range(6):
        frame, exact = room(number, 480, 640, noise=False)
        made = run(put, get, frame, gravity=gravity, percentile=0.1)
        tolerance_deg, tolerance_m = (
            (0.5, 0.02) if gravity == "floor_wall" else (1, 0.05)
        )  # rooms hold turned furniture
        assert apart_deg(made.up[0], exact.up) < tolerance_deg
        assert made.figures[0, 0] == pytest.approx(exact.floor_m, abs=tolerance_m)


@pytest.mark.parametrize("gravity", ["manhattan", "floor_wall"])
def test_an_accepted_empty_room_has_its_gravity_within_half_a_degree(gravity: Any) -> None:
    accepted = 0
    for seed in range(500):
        depth, camera, up = empty_room(seed)
        made = hn_labels(depth, camera, gravity=gravity, radius=2, gravity_radius=3, stride=2, max_residual=0.001)
        if VERDICTS[made.verdict[0]] == "accepted":
            accepted += 1
            assert apart_deg(made.up[0], up) < 0.5, seed
    assert accepted > 250  # the others show no floor, or one wall alone


def empty_room(seed: int, height: int = 120, width: int = 160) -> tuple[Any, Camera, Any]:
    """Depth (H, W) float32 of a box seen from inside, its camera, and up: pitch and roll within 25 degrees."""
    rng = np.random.default_rng(seed)
    camera = Camera(0.8 * width, 0.8 * width, width / 2 - 0.5, height / 2 - 0.5, height, width)
    yaw, pitch, roll = rng.uniform((-180, -5, -25), (180, 25, 25)) * np.pi / 180
    c, s = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    world = (
        np.array([[c[0], 0, s[0]], [0, 1, 0], [-s[0], 0, c[0]]])
        @ np.array([[1, 0, 0], [0, c[1], s[1]], [0, -s[1], c[1]]])
        @ np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    )
    low, high = -rng.uniform((1, 0.8, 1), (3, 1.2, 3)), rng.uniform((1, 1.2, 1), (3, 1.7, 3))
    ray = np.einsum("ij,jhw->ihw", world, _rays(camera))
    with np.errstate(divide="ignore"):
        z = np.where(ray > 0, high[:, None, None] / ray, low[:, None, None] / ray).min(0)
    return z.astype(np.float32), camera, world.T @ [0, -1, 0]


def test_noisy_rooms_give_the_labels_of_exact_ones(device: str, put: Put, get: Put) -> None:
    if device == "emu":
        pytest.skip("whole frames take the emulator too long; the sizes above cover its kernels")
    agreed = []
    for number in range(4):
        frame, exact = room(number, 480, 640, noise=True)
        made = run(put, get, frame)
        assert VERDICTS[made.verdict[0]] == "accepted"
        assert apart_deg(made.up[0], exact.up) < 1
        assert made.figures[0, 0] == pytest.approx(exact.floor_m, abs=0.05)
        points = exact.depth * _rays(exact.camera)
        height = np.einsum("c,chw->hw", exact.up, points) - exact.floor_m
        wanted = reference.bins(height, np.einsum("c,chw->hw", exact.up, exact.normals), uniform_edges(10, 2.5), 2)
        labelled = made.label[0] != IGNORE
        assert labelled[frame.depth > 0].mean() > 0.8
        agreed.append((made.label[0] == wanted)[labelled].mean())
    assert np.mean(agreed) > 0.93  # over 200 rooms benchmarks/label_quality.py states the figure


def _rays(camera: Camera) -> Any:
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64)
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)])


def test_a_prior_turns_up_the_right_way(device: str, put: Put, get: Put) -> None:
    frame, _ = room(0, 31, 43, noise=False)
    upside_down = type(frame)(frame.id, np.ascontiguousarray(frame.depth[::-1, ::-1]), frame.depth_scale, frame.camera)
    made = run(put, get, upside_down, prior=np.array([0.0, 2.0, 0.0]), **SMALL)
    assert made.up[0, 1] > 0.5


def test_height_only_labels_and_given_edges(device: str, put: Put, get: Put) -> None:
    frame, _ = room(0, 31, 43, noise=True)
    coarse = run(put, get, frame, n_normal=1, height_edges=(0.5, 1.0), **SMALL)
    fine = run(put, get, frame, n_normal=2, height_edges=(0.5, 1.0), **SMALL)
    assert coarse.histogram.shape == (1, 3) and fine.histogram.shape == (1, 6)
    np.testing.assert_array_equal(coarse.histogram[0], fine.histogram[0, :3] + fine.histogram[0, 3:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height_edges": (1.0, 0.5)}, "height_edges must be finite and ascending"),
        ({"height_edges": (float("nan"),)}, "height_edges"),
        ({"n_normal": 0}, "n_normal"),
        ({"n_normal": 26}, "at most 255"),
        ({"gravity": "north"}, "gravity must be"),
        ({"prior": np.zeros(3)}, "prior must be finite and not zero"),
        ({"prior": np.zeros(4)}, "prior must be"),
        ({"percentile": 101.0}, "percentile"),
        ({"min_aligned": 2.0}, "min_aligned"),
        ({"stride": 0}, "stride"),
    ],
)
def test_unsupported_arguments_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hn_labels(np.zeros((8, 9), np.float32), Camera(9, 9, 4, 4, 8, 9), **change)


def test_repeats_are_bitwise_equal(device: str, put: Put, get: Put) -> None:
    frame, _ = room(3, 31, 43, noise=True)
    first = run(put, get, frame, **SMALL)
    for _ in range(20 if device != "emu" else 2):
        again = run(put, get, frame, **SMALL)
        for name, value in written(first):
            np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)
