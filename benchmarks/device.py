"""What a GPU would show: `python -m benchmarks.device [--out FILE.json]`. Written without one: not run on a GPU yet.

On a machine with a CUDA device and the CUDA backend built:
bandwidth    a device-to-device copy of 1 GiB (read + write), GB/s
correctness  `normals` and `hn_labels` on the GPU against the CPU on the same noisy rooms: degrees between normals
             (99.9 %), pixels only one defines, equal labels, degrees between ups, equal verdicts; asserted
repeats      20 runs of `hn_labels` give the same bytes
times        microseconds a frame, by CUDA events, in batches of 64 frames of 480x640 uint16 (39 MB: within the L2, so
             every other call works on another of 4 batches, 157 MB in all), medians over 30 calls, beside a floor:
             the bytes the op must move at least, over the measured bandwidth
Without a device it says so in one sentence and ends with exit code 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.normals_quality import error_deg
from benchmarks.posed_quality import angle_deg
from benchmarks.timing import one_thread, write_result
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.ops import arrays
from fastseg.ops.hn_labels import Gravity, HNLabels, hn_labels
from fastseg.ops.normals import Estimator, normals

SCALE = 0.001
PIXELS = 480 * 640
GRAVITIES: tuple[Gravity, ...] = ("floor_wall", "manhattan")


@dataclass(frozen=True)
class Config:
    """What to measure."""

    seed: int = 30
    batch: int = 64
    batches: int = 4  # so that the working set is larger than the cache
    repeats: int = 30
    out: Path | None = None


def require_gpu() -> None:
    """Raises ValueError with one sentence when this machine or this build cannot run CUDA kernels."""
    import torch

    if not torch.cuda.is_available():
        raise ValueError("no CUDA device here: the GPU benchmarks were not run")
    try:
        arrays.backend(torch.empty(1, device="cuda"))
    except ImportError as error:
        raise ValueError(f"the GPU benchmarks were not run: {error}") from error


def event_us(call: Callable[[int], object], repeats: int) -> float:
    """Median microseconds of call(i) on the current stream, by CUDA events, after three warm-up calls."""
    import torch

    event: Any = torch.cuda.Event
    times = []
    for i in range(repeats + 3):
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        call(i)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return float(np.median(times[3:]))


def bandwidth_gb_s(repeats: int) -> float:
    """Bytes read and written a second by a device-to-device copy of 1 GiB, in GB/s."""
    import torch

    source = torch.empty(1 << 28, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / event_us(lambda _: target.copy_(source), repeats) / 1e3


def depth_batch(rooms: Rooms, count: int) -> Any:
    """(count, 480, 640) uint16 noisy depth on the CPU as a torch tensor."""
    import torch

    ids = rooms.ids()
    frames = [rooms.load(frame_id).depth for frame_id in ids]
    return torch.from_numpy(np.stack([frames[i % len(frames)] for i in range(count)]))


def check_normals(depth: Any, rooms: Rooms, estimator: Any) -> dict[str, float]:
    """The GPU's normals against the CPU's; AssertionError where they differ by more than the tolerance of FMA."""
    cpu = normals(depth, rooms.camera, depth_scale=SCALE, estimator=estimator)[1].numpy()
    gpu = normals(depth.cuda(), rooms.camera, depth_scale=SCALE, estimator=estimator)[1].cpu().numpy()
    degrees = error_deg(np.moveaxis(cpu, 1, -1), np.moveaxis(gpu, 1, -1))
    only = float((np.isfinite(cpu) != np.isfinite(gpu)).mean())
    found = {"p999_deg": float(np.nanpercentile(degrees, 99.9)), "only_one": only}
    assert found["p999_deg"] <= 0.1 and only <= 1e-3, f"{estimator}: the GPU's normals differ from the CPU's: {found}"
    return found


def check_labels(depth: Any, rooms: Rooms) -> dict[str, float]:
    """The GPU's labels against the CPU's, and 20 runs against each other; AssertionError where they differ."""
    cpu = hn_labels(depth, rooms.camera, depth_scale=SCALE)
    device = depth.cuda()
    runs = [hn_labels(device, rooms.camera, depth_scale=SCALE) for _ in range(20)]
    assert all(_same_bytes(runs[0], other) for other in runs[1:]), "20 runs of hn_labels do not agree bit by bit"
    assert (cpu.verdict == runs[0].verdict.cpu()).all(), "the GPU and the CPU disagree on a verdict"
    found = {
        "same_label": float((cpu.label == runs[0].label.cpu()).float().mean()),
        "up_deg": float(angle_deg(cpu.up.numpy(), runs[0].up.cpu().numpy()).max()),
    }
    assert found["same_label"] >= 0.999 and found["up_deg"] <= 0.05, f"the GPU's labels differ from the CPU's: {found}"
    return found


def _same_bytes(a: HNLabels, b: HNLabels) -> bool:
    import torch

    return bool(torch.equal(a.label, b.label) and torch.equal(a.up, b.up) and torch.equal(a.histogram, b.histogram))


def kernel_times(config: Config, rooms: Rooms, depth: Any, gb_s: float) -> dict[str, dict[str, float]]:
    """Microseconds a frame of each op and its floor (bytes that must move, over the measured bandwidth)."""
    batches = [depth.roll(i, 0).contiguous().cuda() for i in range(config.batches)]

    def timed(op: Callable[[Any], object], moved: int) -> dict[str, float]:
        us = event_us(lambda i: op(batches[i % len(batches)]), config.repeats) / config.batch
        return {"us_a_frame": us, "floor_us_a_frame": moved * PIXELS / gb_s / 1e3}

    # bytes a pixel: uint16 depth in; points and normals out (3 + 3 float32), or one label byte
    found = {}
    settings: tuple[tuple[Estimator, int], ...] = (("plane", 3), ("plane", 5), ("plane", 10), ("pca", 3))
    for estimator, radius in settings:
        op = partial(normals, camera=rooms.camera, depth_scale=SCALE, estimator=estimator, radius=radius)
        found[f"normals {estimator} R={radius}"] = timed(op, 2 + 24)
    for gravity in GRAVITIES:
        label = partial(hn_labels, camera=rooms.camera, depth_scale=SCALE, gravity=gravity)
        found[f"hn_labels {gravity}"] = timed(label, 2 + 1)
    return found


def main(config: Config) -> int:
    """0 after printing and checking; ValueError (exit code 2) without a GPU; AssertionError where they differ."""
    require_gpu()
    rooms = Rooms(config.seed, 16)
    depth = depth_batch(rooms, config.batch)
    gb_s = bandwidth_gb_s(config.repeats)
    checks = {f"normals {e}": check_normals(depth[:8], rooms, e) for e in ("plane", "pca")}
    checks["hn_labels"] = check_labels(depth[:8], rooms)
    timed = kernel_times(config, rooms, depth, gb_s)
    print(f"copy {gb_s:.0f} GB/s; CPU and GPU agree: {checks}")
    for name, figures in timed.items():
        print(f"{name:22}{figures['us_a_frame']:8.2f} us a frame, floor {figures['floor_us_a_frame']:.2f}")
    if config.out is not None:
        payload = {"bandwidth_gb_s": gb_s, "checks": checks, "batch": config.batch, "times": timed}
        print(f"written to {write_result(config.out.stem, payload, config.out.parent)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
