"""Times and errors of `normals` beside its peers: `python -m benchmarks.bench_normals --json F.json --plot F.png`.

Time is depth image to normals, points included, one 480x640 frame a call on one thread; the cases `8x480x640` are eight
frames on 1 and 2 threads, ours in one call and each peer's calls spread over as many Python threads (all release the
interpreter). The reference is timed at 96x128. First asserts that every timed setting of ours agrees with it there.
error        mean degrees from the exact normal over smooth surfaces of noisy procedural rooms, where a normal is given
             (benchmarks/normals_quality.py states the regions)
extra        `smooth_median_deg`, `smooth_defined` (share of the region with a normal), `edges_deg`, `edges_defined`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.normals_quality import ErrorTally, error_deg, exact, regions
from benchmarks.peers import Array, NormalsOf, cross_peers, metres, missing_peers, oriented, rays, window_peers
from benchmarks.spread import Spread
from benchmarks.timing import OURS, Row, keep_rows, one_thread, print_rows, race
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.frames import Camera

SETTINGS: Mapping[str, dict[str, Any]] = {
    "cross r1 + points": {"estimator": "cross", "radius": 1},
    "plane r3": {"estimator": "plane", "radius": 3},
    "plane r5": {"estimator": "plane", "radius": 5},
    "plane r10": {"estimator": "plane", "radius": 10},
    "pca r3": {"estimator": "pca", "radius": 3},
}
BATCHED = {"cross r1 + points": "opencv_cross_product", **{f"plane r{r}": "opencv_fals" for r in (3, 5, 10)}}
SLOW = {"open3d_knn"}  # a second a frame: its errors are taken over fewer frames
AGREE_DEG = 0.05  # float32 sums against the reference's double, at the 99.9th percentile
BATCH = 8


@dataclass(frozen=True)
class Config:
    """What to measure."""

    frames: int = 12  # noisy procedural frames for the errors; each fourth is a new room; 0 leaves the errors out
    seed: int = 20
    repeats: int = 31  # timed calls of each contestant
    budget_s: float = 5.0  # a contestant that has used this much sits out after three calls
    peers: bool = True
    json: Path | None = None
    plot: Path | None = None


def ours(camera: Camera, setting: Mapping[str, Any], threads: int = 1) -> NormalsOf:
    """`fastseg.ops.normals` of one setting in the peers' form; (3, H, W) is only viewed as (H, W, 3)."""
    from fastseg.ops.normals import normals

    def call(depth: Array) -> Array:
        return np.moveaxis(np.asarray(normals(depth, camera, threads=threads, **setting)[1]), -3, -1)

    return call


def reference(camera: Camera, setting: Mapping[str, Any]) -> NormalsOf:
    """fastseg/reference in the peers' form."""
    from fastseg.reference.normals import normals

    return lambda depth: np.moveaxis(np.asarray(normals(depth, camera, **setting)[1]), 0, -1)


def disagreement(setting: Mapping[str, Any], depth: Array, camera: Camera) -> dict[str, float]:
    """Degrees between ours and the reference (99.9 %), and the share of pixels that only one of them defines."""
    truth, found = reference(camera, setting)(depth), ours(camera, setting)(depth)
    degrees = error_deg(found, truth)
    only = np.isfinite(found[..., 0]) != np.isfinite(truth[..., 0])
    return {"p999_deg": float(np.nanpercentile(degrees, 99.9)), "only_one": float(only.mean())}


def check(config: Config) -> tuple[dict[str, dict[str, float]], list[Row]]:
    """Each setting's disagreement with the reference, AssertionError where it is too large; both their times."""
    rooms = Rooms(5, 1, 96, 128)
    depth, camera = metres(rooms.load(rooms.ids()[0])), rooms.camera
    found = {name: disagreement(setting, depth, camera) for name, setting in SETTINGS.items()}
    for name, figures in found.items():
        if figures["p999_deg"] > AGREE_DEG or figures["only_one"] > 1e-3:
            raise AssertionError(f"{name} does not agree with the reference: {figures}")
    rows: list[Row] = []
    for name, setting in SETTINGS.items():
        both = {OURS: ours(camera, setting), "reference": reference(camera, setting)}
        rows += race(f"96x128 {name}", {key: partial(call, depth) for key, call in both.items()}, repeats=5,
                     budget_s=config.budget_s / 5)  # fmt: skip
    return found, rows


def contestants(camera: Camera, name: str, peers: bool) -> dict[str, NormalsOf]:
    """Ours and the peers of one setting."""
    setting = SETTINGS[name]
    found = {OURS: ours(camera, setting)}
    if not peers:
        return found
    return {**found, **(cross_peers(camera) if "cross" in name else window_peers(camera, setting["radius"]))}


def errors(entered: Mapping[str, NormalsOf], rooms: Rooms) -> dict[str, Any]:
    """Each contestant's angular errors over the rooms' frames, turned to the camera first (see the module's text)."""
    tallies = {name: ErrorTally() for name in entered}
    ray = rays(rooms.camera)
    for number, frame_id in enumerate(rooms.ids()):
        room = rooms.truth(frame_id)
        depth = metres(rooms.record(frame_id, room))
        points, truth = exact(room)
        where = regions(points, truth)
        for name, tally in tallies.items():
            if name not in SLOW or number % 8 == 0:
                tally.add(oriented(entered[name](depth), ray), truth, where, depth > 0)
    return {name: tally.summary() for name, tally in tallies.items()}


def figures(wrong: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The rows' `error` and `extra` by contestant, from `errors`."""
    error = {name: found["smooth"].get("mean", np.nan) for name, found in wrong.items()}
    extra = {
        name: {
            "smooth_median_deg": found["smooth"].get("median", np.nan),
            "smooth_defined": found["smooth"]["defined"],
            "edges_deg": found["near_edges"].get("mean", np.nan),
            "edges_defined": found["near_edges"]["defined"],
        }
        for name, found in wrong.items()
    }
    return error, extra


def frame_rows(config: Config, rooms: Rooms, name: str) -> list[Row]:
    """One frame on one thread, every contestant, with its errors."""
    depth = metres(rooms.load(rooms.ids()[0]))
    entered = contestants(rooms.camera, name, config.peers)
    error, extra = figures(errors(entered, rooms) if config.frames else {})
    calls: dict[str, Callable[[], object]] = {key: partial(call, depth) for key, call in entered.items()}
    budget = config.budget_s
    return race(f"480x640 {name}", calls, repeats=config.repeats, budget_s=budget, errors=error, extra=extra)


def batch_rows(config: Config, rooms: Rooms, name: str, threads: int) -> list[Row]:
    """Eight frames on `threads` threads: ours in one call, the strongest peer a frame a Python thread."""
    frames = [metres(rooms.load(rooms.ids()[0]))] * BATCH
    setting, camera, peer = SETTINGS[name], rooms.camera, BATCHED[name]
    peers = cross_peers if "cross" in name else window_peers
    calls: dict[str, Callable[[], object]] = {OURS: partial(ours(camera, setting, threads), np.stack(frames))}
    with Spread(threads) as spread:
        if config.peers:
            calls[peer] = partial(spread, lambda: peers(camera)[peer], frames)
        return race(f"8x480x640 {name}", calls, threads=threads, repeats=config.repeats, budget_s=config.budget_s)


def main(config: Config) -> int:
    """0 after printing times and errors; AssertionError when ours and the reference disagree."""
    agreed, rows = check(config)
    rooms = Rooms(config.seed, max(config.frames, 1))
    rows += [row for name in SETTINGS for row in frame_rows(config, rooms, name)]
    rows += [row for name in BATCHED for n in (1, 2) for row in batch_rows(config, rooms, name, n)]
    print_rows(rows)
    not_run = missing_peers() if config.peers else {"every peer": "--peers false"}
    print("\n".join(f"{name}: not run, {why}" for name, why in not_run.items()))
    keep_rows(
        "normals", rows, config.json, config.plot, {"agreement": agreed, "frames": config.frames, "not_run": not_run}
    )
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
