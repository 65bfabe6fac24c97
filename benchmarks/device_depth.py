"""`normals` and `hn_labels` on a GPU: agreement with the CPU, then batches of 64 frames of 480x640 uint16.

A batch of depth is 39 MB and would fit in the L2, so successive calls work on another of four.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.device_race import Call, gpu_race, over
from benchmarks.floors import hn_labels_work, normals_work
from benchmarks.normals_quality import error_deg
from benchmarks.posed_quality import angle_deg
from benchmarks.rows import OURS, Row
from fastseg.data.rooms import Rooms
from fastseg.frames import Camera
from fastseg.ops.hn_labels import HNLabels, hn_labels
from fastseg.ops.normals import normals

SCALE = 0.001
BATCH, BATCHES = 64, 4
FITS: tuple[dict[str, Any], ...] = (
    {"estimator": "cross", "radius": 1}, {"estimator": "plane", "radius": 3}, {"estimator": "plane", "radius": 5},
    {"estimator": "plane", "radius": 10}, {"estimator": "pca", "radius": 3},
)  # fmt: skip
GRAVITIES: Mapping[str, dict[str, Any]] = {"label": {}, "label manhattan": {"gravity": "manhattan"}}


def depth_batches(rooms: Rooms) -> list[Any]:
    """BATCHES different batches (BATCH, 480, 640) uint16 on the GPU."""
    import torch

    frames = [rooms.load(frame_id).depth for frame_id in rooms.ids()]
    batch = torch.from_numpy(np.stack([frames[i % len(frames)] for i in range(BATCH)]))
    return [batch.roll(i, 0).contiguous().cuda() for i in range(BATCHES)]


def check_normals(depth: Any, camera: Camera, fit: Mapping[str, Any]) -> float:
    """Degrees between the GPU's and the CPU's normals (99.9 %); AssertionError above the tolerance of FMA."""
    cpu = normals(depth.cpu(), camera, depth_scale=SCALE, **fit)[1].numpy()
    gpu = normals(depth, camera, depth_scale=SCALE, **fit)[1].cpu().numpy()
    degrees = error_deg(np.moveaxis(cpu, 1, -1), np.moveaxis(gpu, 1, -1))
    apart, only = float(np.nanpercentile(degrees, 99.9)), float((np.isfinite(cpu) != np.isfinite(gpu)).mean())
    assert apart <= 0.1 and only <= 1e-3, f"{fit}: the GPU's normals differ from the CPU's: {apart} deg, {only:.2%}"
    return apart


def torch_cross(depth: Any, camera: Camera) -> Any:
    """Points and the cross product of their central differences in plain torch, (N, 3, H, W) each."""
    import torch

    z = torch.where(depth > 0, depth.float() * SCALE, torch.nan)
    v, u = (torch.arange(n, device=z.device, dtype=z.dtype) for n in z.shape[-2:])
    x, y = (u - camera.cx) / camera.fx * z, (v - camera.cy)[:, None] / camera.fy * z
    points = torch.stack([x, y, z], 1)
    across = points[..., 1:-1, 2:] - points[..., 1:-1, :-2]
    along = points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    normal = torch.nn.functional.normalize(torch.linalg.cross(along, across, dim=1), dim=1)
    return points, torch.nn.functional.pad(normal, [1] * 4, value=torch.nan)


def normals_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of `normals`; AssertionError where the GPU does not agree with the CPU."""
    import torch

    rooms = Rooms(30, 8)
    batches, camera, rows = depth_batches(rooms), rooms.camera, []
    compiled = torch.compile(torch_cross)
    for fit in FITS:
        name = f"{fit['estimator']} r{fit['radius']}"
        apart = check_normals(batches[0][:4], camera, fit)
        ours = partial(normals, camera=camera, depth_scale=SCALE, **fit)
        calls: dict[str, Call] = {OURS: over(ours, batches)}
        if fit["estimator"] == "cross":
            calls["eager"] = over(partial(torch_cross, camera=camera), batches)
            calls["compile"] = over(partial(compiled, camera=camera), batches)
        case = f"{BATCH}x480x640 {name}"
        work = normals_work(case)
        assert work is not None
        moved = work.bytes - 2 * BATCH * 480 * 640  # uint16 depth, where the floor counts float32
        rows += gpu_race(case, calls, rates, frames=BATCH, moved=moved, errors={OURS: apart})
    return rows


def _same_bytes(a: HNLabels, b: HNLabels) -> bool:
    import torch

    return bool(torch.equal(a.label, b.label) and torch.equal(a.up, b.up) and torch.equal(a.histogram, b.histogram))


def check_labels(depth: Any, camera: Camera) -> float:
    """The share of labels that differ from the CPU's; AssertionError where it is large, or 20 runs are not one."""
    cpu = hn_labels(depth.cpu(), camera, depth_scale=SCALE)
    runs = [hn_labels(depth, camera, depth_scale=SCALE) for _ in range(20)]
    assert all(_same_bytes(runs[0], other) for other in runs[1:]), "20 runs of hn_labels do not agree bit by bit"
    assert (cpu.verdict == runs[0].verdict.cpu()).all(), "the GPU and the CPU disagree on a verdict"
    other = float((cpu.label != runs[0].label.cpu()).float().mean())
    turned = float(angle_deg(cpu.up.numpy(), runs[0].up.cpu().numpy()).max())
    assert other <= 1e-3 and turned <= 0.05, f"the GPU's labels differ from the CPU's: {other:.2%}, up {turned} deg"
    return other


def hn_labels_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of `hn_labels`; AssertionError where the GPU does not agree with the CPU or with itself."""
    rooms = Rooms(30, 8)
    batches, rows = depth_batches(rooms), []
    apart = check_labels(batches[0][:8], rooms.camera)
    work = hn_labels_work(f"{BATCH}x480x640 label")
    assert work is not None
    for name, setting in GRAVITIES.items():
        ours = partial(hn_labels, camera=rooms.camera, depth_scale=SCALE, **setting)
        calls: dict[str, Call] = {OURS: over(ours, batches)}
        errors = {OURS: apart} if name == "label" else {}
        case = f"{BATCH}x480x640 {name}"
        rows += gpu_race(case, calls, rates, frames=BATCH, moved=work.bytes, errors=errors)
    return rows
