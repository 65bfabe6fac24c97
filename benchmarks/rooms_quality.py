"""How good are labels of procedural rooms, against exact truth: `score_rooms(rooms, labeller)`.

up_error_deg, floor_error_m   median and 95 % over accepted frames, and the share of floors within 2 cm
agreement                     of the pixels that the labeller labels, the share whose label (and whose height bin, and
                              normal bin) equals the exact label's: made from exact depth, normals, up and floor
per_bin                       for each exact label: its pixels among the labelled ones and the share given that label
labelled_share                labelled pixels over pixels with sensor depth, in accepted frames
floor_in_view                 frames whose picture shows floor in at least 1 % of its pixels; of them `accepted`, and
                              `accepted_without_floor`: accepted frames that do not
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.normals_quality import exact
from benchmarks.peers import metres
from benchmarks.posed_quality import Label, Labeller, angle_deg, median_95
from fastseg.data.rooms import RoomFrame, Rooms
from fastseg.frames import FrameError

FLOOR_SEEN = 0.01


def exact_label(
    room: RoomFrame, n_height: int = 10, n_normal: int = 2, max_height_m: float = 2.5
) -> npt.NDArray[np.uint8]:
    """The HN label (H, W) uint8 of exact depth, normals, up and floor, by the spec's bins and nothing estimated."""
    points, normals = exact(room)
    height = points.astype(np.float64) @ room.up - room.floor_m
    steps = np.clip(np.floor(height * (n_height / max_height_m)), 0, n_height - 1)
    angle = np.rad2deg(np.arccos(np.clip(normals.astype(np.float64) @ room.up, -1, 1)))
    folded = np.minimum(angle, 180 - angle)
    turns = np.clip(np.floor(folded * (n_normal / 90.0)), 0, n_normal - 1)
    return np.asarray(turns * n_height + steps, np.uint8)


@dataclass
class RoomTally:
    """What is counted over frames; `confusion[exact, given]` over labelled pixels."""

    n_height: int
    n_normal: int
    up_deg: list[float] = field(default_factory=list)
    floor_m: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    measured: int = 0
    confusion: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        classes = self.n_height * self.n_normal
        self.confusion = np.zeros((classes, classes), np.int64)

    def accept(self, answer: Label, room: RoomFrame, measured: int) -> None:
        """Counts an accepted frame's answer against its exact picture."""
        self.up_deg.append(float(angle_deg(np.asarray(answer.up), room.up)))
        self.floor_m.append(abs(float(answer.floor_m) - room.floor_m))
        truth, given = exact_label(room, self.n_height, self.n_normal), answer.label
        labelled = given != 255
        classes = len(self.confusion)
        flat = truth[labelled].astype(np.int64) * classes + given[labelled]
        self.confusion += np.bincount(flat, minlength=classes**2).reshape(classes, classes)
        self.measured += measured
        self.seen["accepted" if room.floor_fraction >= FLOOR_SEEN else "accepted_without_floor"] += 1

    def errors(self) -> dict[str, Any]:
        """By how much up and floor miss the truth in accepted frames, one at least."""
        floor = np.array(self.floor_m)
        within = {"within_2cm": float((floor < 0.02).mean())}
        return {"up_error_deg": median_95(np.array(self.up_deg)), "floor_error_m": {**median_95(floor), **within}}

    def agreement(self) -> dict[str, Any]:
        """Shares of equal labels and bins, and the table by exact label."""
        total, n = max(int(self.confusion.sum()), 1), self.n_height
        by_bin = self.confusion.reshape(self.n_normal, n, self.n_normal, n)
        rows = self.confusion.sum(1)
        return {
            "label": float(np.trace(self.confusion) / total),
            "height_bin": float(np.einsum("ahbh->", by_bin) / total),
            "normal_bin": float(np.einsum("ahag->", by_bin) / total),
            "labelled_share": total / max(self.measured, 1),
            "per_bin": [
                {
                    "label": k,
                    "pixels": int(rows[k]),
                    "share": float(self.confusion[k, k] / rows[k]) if rows[k] else None,
                }
                for k in range(len(rows))
            ],
        }


def score_rooms(rooms: Rooms, labeller: Labeller, *, n_height: int = 10, n_normal: int = 2) -> dict[str, Any]:
    """The figures of this module's text for `labeller` over a source of procedural rooms."""
    tally = RoomTally(n_height, n_normal)
    ids = rooms.ids()
    for frame_id in ids:
        room = rooms.truth(frame_id)
        frame = rooms.record(frame_id, room)
        tally.seen["floor_in_view"] += room.floor_fraction >= FLOOR_SEEN
        try:
            answer = labeller(frame)
        except FrameError as error:
            tally.reasons[error.reason] += 1
        else:
            tally.accept(answer, room, int((metres(frame) > 0).sum()))
    out: dict[str, Any] = {"frames": len(ids), "accepted": len(tally.up_deg), "reasons": dict(tally.reasons)}
    out["floor"] = {name: tally.seen[name] for name in ("floor_in_view", "accepted", "accepted_without_floor")}
    return out | (tally.errors() | {"agreement": tally.agreement()} if tally.up_deg else {})
