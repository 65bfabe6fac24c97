"""How good are labels of frames with poses: `score(frames, labeller)`, for any labeller and any posed data.

Exactly what is counted. All frames share one world frame; T_i is frame i's camera-to-world pose with rotation R_i and
camera centre t_i; frame i is accepted when the labeller returns and rejected when it raises FrameError.

accepted, rejected   counts; `reasons` counts the rejections by reason code
up_spread_deg        median and 95 % of the angle between R_i up_i and its mean over accepted frames (sum made unit)
up_to_gravity_deg    median and 95 % of the angle between R_i up_i and the stated up (minus the stated down), if given
floor_offset_m       of h_i = m . t_i + floor_m_i, m the mean up: the floor's height in the world. `median`, and
                     `within_5cm`: the share of accepted frames with |h_i - median| < 5 cm;
                     `within_5cm_own_up`: the same with R_i up_i in place of m
agreement            of co-visible, doubly labelled pixels, the share with equal `label`, equal `height_bin`
                     (label mod n_height) and equal `normal_bin` (label div n_height), pooled over the pairs;
                     `pairs` and `pixels` say how many; `pair_median` is the median of the pairs' label shares;
                     `labelled_share` is the share of co-visible pixels that both frames label, and
                     `equal_of_covisible` counts an unlabelled pixel as a disagreement, so abstaining buys nothing.
                     Pairs are successive accepted frames. A pixel of frame i with depth is moved by T_(i+1)^-1 T_i,
                     rounded to the nearest pixel of frame i+1, and is co-visible when that pixel has depth and
                     |dz| < max(2 cm, 2 % of its depth). Pairs with fewer than 1,000 co-visible pixels are left out.
ms_median            median wall milliseconds of one call of the labeller (accepted or rejected)
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.peers import metres, rays
from fastseg.frames import Frame, FrameError

Double = npt.NDArray[np.float64]
FEWEST = 1000


class Label(Protocol):
    """What the scoring reads of a labeller's answer (`fastseg.labels.hn.HNLabel` has it)."""

    @property
    def label(self) -> npt.NDArray[np.uint8]: ...

    @property
    def up(self) -> npt.NDArray[Any]: ...

    @property
    def floor_m(self) -> float: ...


Labeller = Callable[[Frame], Label]


@dataclass(frozen=True)
class Accepted:
    """An accepted frame and its answer."""

    frame: Frame
    answer: Label

    @property
    def pose(self) -> Double:
        if self.frame.pose is None:
            raise ValueError(f"frame {self.frame.id} has no pose; label quality needs a pose for every frame")
        return np.asarray(self.frame.pose, np.float64)


def angle_deg(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Double:
    """Degrees between unit vectors along the last axis; atan2 of the chord, so small angles keep their digits."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart, along = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.asarray(np.rad2deg(2 * np.arctan2(apart, along)), np.float64)


def median_95(values: npt.NDArray[Any]) -> dict[str, float]:
    """The median and the 95th percentile."""
    return {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}


def run_labeller(frames: Iterable[Frame], labeller: Labeller) -> tuple[list[Accepted], Counter[str], list[float]]:
    """The accepted frames, the rejections by reason, and each call's milliseconds."""
    accepted: list[Accepted] = []
    reasons: Counter[str] = Counter()
    times = []
    for frame in frames:
        start = time.perf_counter()
        try:
            answer = labeller(frame)
        except FrameError as error:
            reasons[error.reason] += 1
        else:
            accepted.append(Accepted(frame, answer))
        times.append((time.perf_counter() - start) * 1e3)
    return accepted, reasons, times


def covisible(source: Accepted, target: Accepted) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Flat pixel indices (source, target) of the points that both frames see; |dz| < max(2 cm, 2 %)."""
    depth, other = metres(source.frame).ravel(), metres(target.frame).ravel()
    index = np.flatnonzero(depth)
    points = rays(source.frame.camera).reshape(-1, 3)[index] * depth[index, None]
    motion = np.linalg.inv(target.pose) @ source.pose
    x, y, z = (points @ motion[:3, :3].T + motion[:3, 3]).T
    camera = target.frame.camera
    ahead = z > 1e-3
    z_safe = np.where(ahead, z, 1)
    u = np.rint(camera.fx * x / z_safe + camera.cx)
    v = np.rint(camera.fy * y / z_safe + camera.cy)
    inside = ahead & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    index, z = index[inside], z[inside]
    hit = (v[inside] * camera.width + u[inside]).astype(np.intp)
    seen = (other[hit] > 0) & (np.abs(other[hit] - z) < np.maximum(0.02, 0.02 * z))
    return index[seen], hit[seen]


def agreement(accepted: list[Accepted], n_height: int) -> dict[str, float]:
    """Label agreement of the same 3-D point between successive accepted frames (see the module's text)."""
    totals = np.zeros(5)  # co-visible, both labelled, equal label, equal height bin, equal normal bin
    shares = []
    for source, target in itertools.pairwise(accepted):
        i, j = covisible(source, target)
        if i.size < FEWEST:
            continue
        a, b = source.answer.label.ravel()[i], target.answer.label.ravel()[j]
        both = (a != 255) & (b != 255)
        a, b = a[both], b[both]
        equal = [(a == b).sum(), (a % n_height == b % n_height).sum(), (a // n_height == b // n_height).sum()]
        totals += np.array([i.size, a.size, *equal], np.float64)
        shares.append(float((a == b).mean()) if a.size else 0.0)
    if not shares:
        return {"pairs": 0, "pixels": 0}
    names = ("label", "height_bin", "normal_bin")
    return {
        "pairs": len(shares),
        "pixels": int(totals[1]),
        "labelled_share": float(totals[1] / totals[0]),
        "equal_of_covisible": float(totals[2] / totals[0]),
        **{name: float(value / max(totals[1], 1)) for name, value in zip(names, totals[2:], strict=True)},
        "pair_median": float(np.median(shares)),
    }


def world(accepted: list[Accepted], stated_up: Double | None) -> dict[str, Any]:
    """Spread of up and of the floor's offset in the world frame (see the module's text)."""
    ups = np.stack([a.pose[:3, :3] @ np.asarray(a.answer.up, np.float64) for a in accepted])
    ups /= np.linalg.norm(ups, axis=1, keepdims=True)
    mean = ups.mean(0) / np.linalg.norm(ups.mean(0))
    centres = np.stack([a.pose[:3, 3] for a in accepted])
    floors = np.array([a.answer.floor_m for a in accepted], np.float64)
    common, own = centres @ mean + floors, (centres * ups).sum(1) + floors
    out: dict[str, Any] = {"up_spread_deg": median_95(angle_deg(ups, mean))}
    if stated_up is not None:
        out["up_to_gravity_deg"] = median_95(angle_deg(ups, stated_up / np.linalg.norm(stated_up)))
    out["floor_offset_m"] = {
        "median": float(np.median(common)),
        "within_5cm": float((np.abs(common - np.median(common)) < 0.05).mean()),
        "within_5cm_own_up": float((np.abs(own - np.median(own)) < 0.05).mean()),
    }
    return out


def score(
    frames: Iterable[Frame], labeller: Labeller, *, stated_up: Double | None = None, n_height: int = 10
) -> dict[str, Any]:
    """The figures of this module's text for `labeller` over frames with poses, in their order."""
    accepted, reasons, times = run_labeller(frames, labeller)
    out: dict[str, Any] = {
        "frames": len(times),
        "accepted": len(accepted),
        "rejected": len(times) - len(accepted),
        "reasons": dict(sorted(reasons.items())),
        "ms_median": float(np.median(times)) if times else float("nan"),
    }
    if len(accepted) >= 2:
        out |= world(accepted, stated_up) | {"agreement": agreement(accepted, n_height)}
    return out
