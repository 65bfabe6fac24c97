"""What every label op promises of its kernels: any small array, far addresses, side streams, many threads at once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseg.frames import Camera
from fastseg.ops.decile_rank import decile_rank, ensemble_deciles
from fastseg.ops.hn_labels import IGNORE, VERDICTS, hn_labels
from fastseg.ops.normals import normals
from fastseg.reference import hn_labels as reference_labels
from fastseg.reference import normals as reference_normals

CSRC = Path(__file__).parents[2] / "csrc"
Depth = npt.NDArray[Any]


def camera_of(height: int, width: int) -> Camera:
    side = max(height, width)
    return Camera(0.9 * side, 0.95 * side, 0.48 * width, 0.53 * height, height, width)


def scene(rng: np.random.Generator, frames: int, height: int, width: int) -> Depth:
    """Depth of a floor, a wall and a step on it, with noise and every kind of missing pixel, float32 metres."""
    v, u = np.mgrid[0:height, 0:width] / max(height, width, 1)
    floor = 1.3 / np.maximum(v - 0.3, 1e-6)
    wall = rng.uniform(2, 4, (frames, 1, 1)) + 0.8 * u
    depth = np.minimum(floor, wall) - 0.6 * (u > 0.6) + rng.normal(0, 2e-3, (frames, height, width))
    for missing in (0.0, -1.0, np.nan, np.inf):
        depth = np.where(rng.random(depth.shape) < 0.02, missing, depth)
    return np.asarray(depth, np.float32)


# How a caller may hand over the same depth; the last five must be refused.
FORMS: dict[str, Callable[[Depth], Any]] = {
    "plain": lambda d: d,
    "millimetres": lambda d: np.round(np.nan_to_num(d, posinf=0).clip(0) * 1000).astype(np.uint16),
    "view": lambda d: np.concatenate([np.zeros((1, *d.shape[1:]), d.dtype), d])[1:],
    "read-only": lambda d: np.frombuffer(d.tobytes(), d.dtype).reshape(d.shape),
    "strided": lambda d: np.repeat(d, 2, axis=2)[:, :, ::2],
    "upside down": lambda d: d[:, ::-1],
    "fortran": lambda d: np.asfortranarray(d),
    "unaligned": lambda d: np.frombuffer(b"x" + d.tobytes(), np.uint8)[1:].view(d.dtype).reshape(d.shape),
    "swapped bytes": lambda d: d.astype(d.dtype.newbyteorder()),
    "double": lambda d: d.astype(np.float64),
}
SHAPES = st.tuples(st.integers(0, 2), st.integers(0, 33), st.integers(0, 33))
SEEDS = st.integers(0, 2**32 - 1)


def prepared(seed: int, shape: tuple[int, int, int], form: str) -> tuple[Any, float, Camera]:
    """Depth in the form asked for, metres for one unit of it, and a camera of its size (which is at least 1x1)."""
    depth = FORMS[form](scene(np.random.default_rng(seed), *shape))
    return depth, 0.001 if depth.dtype == np.uint16 else 1.0, camera_of(max(shape[1], 1), max(shape[2], 1))


def refused(depth: Any, call: Callable[[], Any]) -> bool:
    """Whether the op must refuse this array, having checked that it does so in a sentence."""
    if not depth.dtype.isnative or depth.dtype not in (np.float32, np.uint16):
        error: type[Exception] = TypeError
    elif not (depth.flags.c_contiguous and depth.flags.aligned) or 0 in depth.shape[1:]:
        error = ValueError
    else:
        return False
    with pytest.raises(error, match="depth must be float32 or uint16"):
        call()
    return True


@settings(max_examples=2000, deadline=None)
@given(
    seed=SEEDS, shape=SHAPES, form=st.sampled_from(sorted(FORMS)), estimator=st.sampled_from(["plane", "pca"]),
    radius=st.integers(1, 5), threads=st.integers(1, 3),
)  # fmt: skip
def test_normals_of_any_small_array_are_the_reference_s_or_refused(
    seed: int, shape: tuple[int, int, int], form: str, estimator: Any, radius: int, threads: int
) -> None:
    depth, scale, camera = prepared(seed, shape, form)
    options = {"estimator": estimator, "radius": radius, "depth_scale": scale}
    if refused(depth, lambda: normals(depth, camera, **options)):
        return
    points, found = normals(depth, camera, threads=threads, **options)
    assert points.shape == found.shape == (shape[0], 3, *shape[1:])
    length, facing = np.linalg.norm(found, axis=1), np.einsum("nchw,nchw->nhw", found, np.nan_to_num(points))
    defined = np.isfinite(found[:, 0])
    np.testing.assert_allclose(length[defined], 1, atol=1e-5)  # float32: a square root and a division
    assert (facing[defined] < 1e-4).all()
    if estimator == "pca" and (radius < 3 or min(shape[1:]) < 7):
        return  # neighbours nearly on a line, or in a plane through the camera: float32 cannot tell
    for frame in range(shape[0]):
        wanted_points, wanted = reference_normals.normals(depth[frame], camera, **options)
        np.testing.assert_allclose(points[frame], wanted_points, rtol=2e-6, atol=1e-6)  # float32 products
        both = np.isfinite(wanted[0]) & defined[frame]
        # a neighbour or a determinant at its limit in float32 may fall on either side: one pixel, or one in 200
        allowed = 1 + depth[frame].size // 200
        assert (np.isfinite(wanted[0]) != defined[frame]).sum() <= allowed
        cosine = np.einsum("chw,chw->hw", wanted.astype(np.float64), found[frame].astype(np.float64))
        assert (cosine[both] < np.cos(np.deg2rad(0.2))).sum() <= allowed


@settings(max_examples=2000, deadline=None)
@given(
    seed=SEEDS, shape=SHAPES, form=st.sampled_from(sorted(FORMS)), threads=st.integers(1, 3),
    gravity=st.sampled_from(["manhattan", "floor_wall"]),
)  # fmt: skip
def test_labels_of_any_small_array_are_the_reference_s_or_refused(
    seed: int, shape: tuple[int, int, int], form: str, threads: int, gravity: Any
) -> None:
    depth, scale, camera = prepared(seed, shape, form)
    options = {"depth_scale": scale, "gravity": gravity, "radius": 2, "gravity_radius": 3, "stride": 2}
    if refused(depth, lambda: hn_labels(depth, camera, **options)):
        return
    made = hn_labels(depth, camera, threads=threads, **options)
    for frame in range(shape[0]):
        label, counts = made.label[frame], made.histogram[frame]
        np.testing.assert_array_equal(np.bincount(label[label != IGNORE], minlength=20), counts)
        assert 0 <= made.verdict[frame] < len(VERDICTS) and (label[label != IGNORE] < 20).all()
        wanted = reference_labels.hn_labels(depth[frame], camera, **options)
        assert made.figures[frame, 2] == pytest.approx(wanted.valid_fraction, abs=1e-6)
        assert (wanted.verdict == "no-depth") == (VERDICTS[made.verdict[frame]] == "no-depth")
        if wanted.verdict == "accepted" and wanted.disagreement_deg < 5:  # elsewhere the steps are not stable
            apart = np.linalg.norm(np.cross(made.up[frame].astype(np.float64), wanted.up))
            assert apart < np.sin(np.deg2rad(0.2))  # float32 sums of a few hundred normals
            assert (label == wanted.label).mean() > 0.95  # pixels at an edge of a bin or of a definition


def flat(result: Any) -> list[Any]:
    """The arrays of an op's result, in order, whatever it comes in."""
    parts = result if isinstance(result, tuple) else vars(result).values() if hasattr(result, "label") else [result]
    return [part for part in parts if part is not None]


# Every label op on depth-like images (N, H, W); none waits for the GPU.
OPS: dict[str, Callable[[Any], Any]] = {
    "normals": lambda d: normals(d, camera_of(*d.shape[1:]), radius=3),
    "normals pca": lambda d: normals(d, camera_of(*d.shape[1:]), estimator="pca", radius=3),
    "hn_labels": lambda d: hn_labels(d, camera_of(*d.shape[1:]), radius=2, gravity_radius=3, stride=2),
    "decile_rank": lambda d: decile_rank(d, check=False),
    "ensemble_deciles": lambda d: ensemble_deciles(d[:, None], check=False),
}


def tidy(seed: int, frames: int = 3, height: int = 33, width: int = 47) -> Depth:
    return np.nan_to_num(scene(np.random.default_rng(seed), frames, height, width), posinf=0)


@pytest.mark.parametrize("name", OPS)
def test_eight_threads_at_once_get_what_one_gets(name: str) -> None:
    images = [tidy(seed) for seed in range(16)]
    alone = [flat(OPS[name](image)) for image in images]
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait(60)
        for turn in range(48):
            number = (thread * 5 + turn) % len(images)
            for found, wanted in zip(flat(OPS[name](images[number])), alone[number], strict=True):
                np.testing.assert_array_equal(found, wanted)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, thread) for thread in range(8)]:
            done.result(timeout=120)


@pytest.mark.parametrize("name", OPS)
def test_twenty_repeats_are_bitwise_equal(device: str, put: Callable[[Any], Any], get: Any, name: str) -> None:
    image = put(tidy(5))
    first = [get(array) for array in flat(OPS[name](image))]
    for _ in range(20 if device != "emu" else 1):
        for found, wanted in zip(flat(OPS[name](image)), first, strict=True):
            np.testing.assert_array_equal(get(found), wanted)


def cuda() -> Any:
    """torch, when it sees a CUDA device; else a skip."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch


@pytest.mark.gpu
@pytest.mark.torch
@pytest.mark.parametrize("name", OPS)
def test_an_op_waits_for_its_own_stream_s_producer(name: str) -> None:
    torch = cuda()
    images = [torch.from_numpy(tidy(seed, height=120, width=160)).cuda() for seed in range(4)]
    alone = [flat(OPS[name](image)) for image in images]
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    for turn in range(100):
        with torch.cuda.stream(side):
            late = torch.zeros_like(images[0])
            torch.cuda._sleep(200_000)  # cycles: the kernel is in the queue long before its input is there
            late.copy_(images[turn % 4])
            found = flat(OPS[name](late))
        side.synchronize()
        for got, wanted in zip(found, alone[turn % 4], strict=True):
            assert torch.equal(got.nan_to_num(), wanted.nan_to_num())


@pytest.mark.gpu
@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("name", ["normals", "hn_labels", "decile_rank"])
def test_more_than_two_to_the_31_elements(name: str) -> None:
    torch = cuda()
    height, width = 480, 640
    frames = 2**31 // (height * width * (3 if name == "normals" else 1)) + 2  # of the largest output
    if torch.cuda.mem_get_info()[0] < 60e9:
        pytest.skip("needs 60 GB of free GPU memory")
    some = torch.from_numpy(tidy(1, 5, height, width)).cuda()
    depth = torch.empty(frames, height, width, device="cuda")
    for n in range(frames):
        depth[n] = some[n % 5]
    found = flat(OPS[name](depth))
    small = flat(OPS[name](some))
    assert max(array.numel() for array in found) > 2**31
    for n in (0, frames // 2, frames - 2, frames - 1):
        for got, wanted in zip(found, small, strict=True):
            assert torch.equal(got[n].nan_to_num(), wanted[n % 5].nan_to_num())


def test_no_kernel_counts_elements_in_32_bits() -> None:
    """An index made of blockIdx is 64 bits wide unless it counts blocks, tiles or frames alone."""
    for path in sorted(CSRC.glob("*.cu")) + sorted(CSRC.glob("*.h")):
        for line in path.read_text("utf-8").splitlines():
            narrow = re.search(r"\b(int|unsigned|std::int32_t|auto)\s+\w+\s*=.*blockIdx\.\w.*\*", line)
            assert narrow is None, f"{path.name}: {line.strip()}"
