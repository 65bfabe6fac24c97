"""What a consensus over a scene gives: `python -m benchmarks.scene_quality --reader 7scenes --root DIR [--out F.json]`.

With a reader: the figures of `label_quality` (benchmarks/posed_quality.py says exactly what is counted) of each frame
alone, and of all frames by the planes voted for them (`fastseg.labels.consensus`) with each window. As a plane for the
whole scene has no spread at all, whatever it is worth, two figures ask the frames themselves. Of every frame accepted
alone, the points of its floor (normal within 20 degrees of its own up, height within 5 cm of their median) are held
against the plane that it is given: `floor_gap_m` is their height over it, less the median over the frames, without
sign; `floor_tilt_deg` lies between its up and the normal of the plane through these points (which sensor noise moves by
a degree). `agreement_8` is the agreement of frames eight apart, where poses that drift have drifted.

With `--rooms N`: walks of `--views` frames through N procedural rooms, against the exact truth (rooms_quality.py): each
frame alone; by consensus the frames accepted alone, the others ("rescued"), and all. `--drift_deg` bends the poses:
each is turned about the camera by a random vector of that standard deviation an axis, smooth over 32 frames, and
shifted by as many centimetres.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.label_quality import lines, loadable, stated_up
from benchmarks.peers import metres
from benchmarks.posed_quality import Accepted, Label, agreement, angle_deg, median_95, run_labeller, world
from benchmarks.rooms_quality import RoomTally
from benchmarks.timing import one_thread, write_result
from fastseg.cli import run
from fastseg.data.rooms import RoomFrame, Rooms
from fastseg.data.sources import Reader, open_source
from fastseg.frames import Frame, FrameError
from fastseg.labels.consensus import ConsensusConfig, Planes, alone, by_poses
from fastseg.labels.hn import HNConfig, HNLabel, estimate_frame, label_frame, label_given
from fastseg.ops.hn_labels import hn_labels_given

Double = npt.NDArray[np.float64]
HN = HNConfig()


@dataclass(frozen=True)
class Config:
    """What to score."""

    reader: Reader | None = None  # a data set's layout; or use rooms
    root: Path | None = None  # where the data set lies
    limit: int = 0  # only the first frames; 0 = all
    rooms: int = 0  # this many procedural rooms instead of a data set
    views: int = 48  # frames of each walk
    seed: int = 0  # of the rooms and of the drift
    drift_deg: float = 0.0  # of the rooms' poses
    windows: tuple[float, ...] = (4, 8, 16, 32, 0)  # of the consensus, frames; 0 = the whole scene alike
    out: Path | None = None  # where to write the figures as JSON


def voted(frames: list[Frame], window: float) -> dict[str, tuple[Planes, int]]:
    """By id: the planes of the scene that the frames are, and the frame's place in them."""
    found: dict[str, tuple[Any, Any]] = {}
    for frame in frames:
        try:
            found[frame.id] = estimate_frame(frame, HN)
        except FrameError:
            continue
    poses = np.stack([np.asarray(frame.pose, np.float64) for frame in frames if frame.id in found])
    ups, figures = (np.stack(column) for column in zip(*found.values(), strict=True))
    planes = by_poses(alone(ups, figures, poses, HN), ConsensusConfig(window=window))
    return {frame_id: (planes, place) for place, frame_id in enumerate(found)}


def by_plane(frame: Frame, planes: dict[str, tuple[Planes, int]]) -> HNLabel:
    """The frame's label by the plane voted for it; alone where there is none."""
    of, i = planes.get(frame.id, (None, 0))
    if of is None or of.reason[i]:
        return label_frame(frame, HN)
    return label_given(frame, HN, of.up[i], float(of.floor_m[i]))


def floor_of(frame: Frame, own: Label) -> tuple[Double, Double]:
    """The centre of the frame's floor points and the normal of the plane through them, by its own up and floor."""
    made = hn_labels_given(
        frame.depth, frame.camera, own.up, own.floor_m, depth_scale=frame.depth_scale, outputs=("points", "normals")
    )
    points, normals = (np.asarray(a)[0].reshape(3, -1) for a in (made.points, made.normals))
    height = own.up @ points - own.floor_m
    level = (own.up @ normals > np.cos(np.deg2rad(20))) & (height < 0.12)
    floor = points[:, level & (np.abs(height - np.median(height[level])) < 0.05)].astype(np.float64)
    centre = floor.mean(1)
    normal = np.linalg.eigh((floor - centre[:, None]) @ (floor - centre[:, None]).T)[1][:, 0]
    return centre, np.asarray(normal * np.sign(normal @ own.up), np.float64)


def floor_evidence(accepted: list[Accepted], floors: dict[str, tuple[Double, Double]]) -> dict[str, Any]:
    """How the floors that frames saw alone lie to the planes that they are given (see the module's text)."""
    gaps, tilts = [], []
    for a in accepted:
        if a.frame.id in floors:
            centre, normal = floors[a.frame.id]
            gaps.append(float(a.answer.up @ centre - a.answer.floor_m))
            tilts.append(float(angle_deg(normal, np.asarray(a.answer.up))))
    away = np.abs(np.array(gaps) - np.median(gaps))
    return {"floor_gap_m": median_95(away), "floor_tilt_deg": median_95(np.array(tilts))}


def score_source(config: Config) -> dict[str, Any]:
    """The figures of each frame alone and by each window's consensus, over the data set as one scene."""
    if config.reader is None or config.root is None:
        raise ValueError("give --reader and --root, or --rooms N")
    source, unread = open_source(config.reader, config.root), list[str]()
    frames = list(loadable(source, source.ids()[: config.limit or None], unread))
    alone_answers = answered(frames, {})
    floors = {a.frame.id: floor_of(a.frame, a.answer) for a in alone_answers}
    out: dict[str, Any] = {"frames": len(frames), "unreadable": unread}
    for window in (None, *config.windows):
        given = alone_answers if window is None else answered(frames, voted(frames, window))
        figures = {"labelled": len(given)} | world(given, stated_up(config.root)) | floor_evidence(given, floors)
        figures |= {"agreement": agreement(given, HN.n_height), "agreement_8": agreement(given[::8], HN.n_height)}
        both = [a for a in given if a.frame.id in floors]
        figures |= {"agreement_8_accepted_alone": agreement(both[::8], HN.n_height)}
        out["alone" if window is None else f"window {window:g}"] = figures
    return out


def answered(frames: list[Frame], planes: dict[str, tuple[Planes, int]]) -> list[Accepted]:
    """The frames that are labelled, with their labels."""
    return run_labeller(frames, lambda frame: by_plane(frame, planes))[0]


def bent(poses: list[Double], degrees: float, seed: int) -> list[Double]:
    """The poses, each turned and shifted by smooth random amounts (see the module's text)."""
    rng = np.random.default_rng(seed)
    kernel = np.exp(-0.5 * (np.arange(-64, 65) / 16) ** 2)
    noise = rng.standard_normal((6, len(poses) + 128))
    smooth = np.stack([np.convolve(row, kernel / np.linalg.norm(kernel), "valid") for row in noise]).T
    out = []
    for pose, (x, y, z, *shift) in zip(poses, smooth, strict=True):
        angles = np.deg2rad(degrees) * np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        u, _, vt = np.linalg.svd(np.eye(3) + angles)
        turned = np.array(pose, np.float64)
        turned[:3, :3], turned[:3, 3] = u @ vt @ pose[:3, :3], pose[:3, 3] + 0.01 * degrees * np.array(shift)
        out.append(turned)
    return out


def walks(config: Config) -> Iterator[list[tuple[Frame, RoomFrame]]]:
    """The frames of each room with their truth, poses bent."""
    rooms = Rooms(config.seed, config.rooms * config.views, views=config.views, path=True)
    for room in range(config.rooms):
        ids = rooms.ids()[room * config.views : (room + 1) * config.views]
        truth = [rooms.truth(frame_id) for frame_id in ids]
        poses = bent([np.asarray(t.pose, np.float64) for t in truth], config.drift_deg, config.seed * 1000 + room)
        made = [
            replace(rooms.record(i, t), pose=pose, image=None) for i, t, pose in zip(ids, truth, poses, strict=True)
        ]
        yield list(zip(made, truth, strict=True))


def score_procedural(config: Config) -> dict[str, Any]:
    """The errors of each frame alone and by each window's consensus, over walks through rooms."""
    names = (
        "alone",
        *(f"window {w:g}, {part}" for w in config.windows for part in ("accepted alone", "rescued", "all")),
    )
    tallies = {name: RoomTally(HN.n_height, HN.n_normal) for name in names}
    for walk in walks(config):
        own = {a.frame.id for a in answered([frame for frame, _ in walk], {})}
        for window in (None, *config.windows):
            planes = {} if window is None else voted([f for f, _ in walk], window)
            for frame, exact in walk:
                try:
                    answer = by_plane(frame, planes)
                except FrameError:
                    continue
                part = "accepted alone" if frame.id in own else "rescued"
                for name in ("alone",) if window is None else (f"window {window:g}, {p}" for p in (part, "all")):
                    tallies[name].accept(answer, exact, int((metres(frame) > 0).sum()))
    out: dict[str, Any] = {"frames": config.rooms * config.views}
    for name, tally in tallies.items():
        agreed = {k: v for k, v in tally.agreement().items() if k != "per_bin"}
        out[name] = {"labelled": len(tally.up_deg)} | (tally.errors() | {"agreement": agreed} if tally.up_deg else {})
    return out


def main(config: Config) -> int:
    """0 after printing the figures."""
    found = score_procedural(config) if config.rooms else score_source(config)
    print(*lines(found), sep="\n")
    if config.out is not None:
        about = {"reader": config.reader, "rooms": config.rooms, "views": config.views, "drift_deg": config.drift_deg}
        print(f"written to {write_result(config.out.stem, about | found, config.out.parent)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
