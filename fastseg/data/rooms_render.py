"""Pictures of procedural rooms with exact truth, and the camera poses to take them from."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastseg.data.rooms_cast import cast
from fastseg.data.rooms_layout import Room
from fastseg.data.rooms_materials import ROOM_CLASSES
from fastseg.data.rooms_shade import shade
from fastseg.frames import Camera

KINECT_FOCAL = 585.0  # pixels at 640 columns: the first Kinect's depth camera
CLEARANCE = 0.3  # metres kept between the camera and any surface
Pose = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RoomFrame:
    """One exact picture of a room.

    color (H, W, 3) uint8; depth (H, W) float32 metres along z; normals (3, H, W) float32 unit, towards the camera;
    label (H, W) uint8 index into ROOM_CLASSES; up (3,) float64 unit in the camera frame; floor_m: up . p = floor_m on
    the floor; pose (4, 4) float64 T_world_cam, world z up and floor at z = 0; floor_fraction: share of floor pixels.
    """

    color: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    up: npt.NDArray[np.float64]
    floor_m: float
    pose: Pose
    camera: Camera

    @property
    def floor_fraction(self) -> float:
        return float((self.label == ROOM_CLASSES.index("floor")).mean())


def room_camera(height: int = 480, width: int = 640) -> Camera:
    """A Kinect-like camera: 585 pixels of focal length at 640 columns, centred."""
    focal = KINECT_FOCAL * width / 640
    return Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, height, width)


@functools.lru_cache(maxsize=16)
def _tone_curve(gamma: float) -> npt.NDArray[np.uint8]:
    return np.round(255 * np.linspace(0, 1, 4096) ** (1 / gamma)).astype(np.uint8)


def _intrinsics(camera: Camera) -> npt.NDArray[np.float64]:
    return np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float64)


def render(room: Room, camera: Camera, pose: Pose) -> RoomFrame:
    """The room seen by the camera at pose = T_world_cam, with exact depth, normals, labels, up and floor.

    Raises ValueError when the camera stands outside the room.
    """
    origin, turn = np.ascontiguousarray(pose[:3, 3]), np.ascontiguousarray(pose[:3, :3])
    if not ((origin > 0) & (origin < room.size)).all():
        raise ValueError(f"pose must lie inside the room of size {room.size.round(2)} m; got {origin.round(2)}")
    h, w, k = camera.height, camera.width, _intrinsics(camera)
    inverse, code = cast(room.size, room.kind, room.shape, turn, origin, k, h, w)
    color, label = np.empty((h, w, 3), np.uint8), np.empty((h, w), np.uint8)
    depth, normals = np.empty((h, w), np.float32), np.empty((3, h, w), np.float32)
    shade(room.size, room.kind, room.shape, room.coats, room.label, room.lights, room.shadows, room.ambient,
          _tone_curve(room.gamma), turn, origin, k, inverse, code, color, depth, normals, label)  # fmt: skip
    return RoomFrame(color, depth, normals, label, turn[2].copy(), float(-origin[2]), pose.copy(), camera)


def look(place: npt.NDArray[np.float64], yaw: float, pitch: float, roll: float) -> Pose:
    """T_world_cam at place (metres), looking along yaw, raised by pitch, turned by roll about the view (radians)."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    forward, right = np.array([cp * cy, cp * sy, sp]), np.array([sy, -cy, 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = math.cos(roll) * right + math.sin(roll) * down
    pose[:3, 1] = math.cos(roll) * down - math.sin(roll) * right
    pose[:3, 2], pose[:3, 3] = forward, place
    return pose


def clearance(room: Room, place: npt.NDArray[np.float64]) -> float:
    """Distance in metres from a place to the nearest surface (cylinders and spheres count as their boxes)."""
    shape, gap = room.shape[6:], place - room.shape[6:, :3]
    c, s = shape[:, 6], shape[:, 7]
    local = np.stack([c * gap[:, 0] + s * gap[:, 1], c * gap[:, 1] - s * gap[:, 0], gap[:, 2]], 1)
    outside = np.linalg.norm(np.maximum(np.abs(local) - shape[:, 3:6], 0), axis=1)
    return float(min(outside.min(initial=np.inf), place.min(), (room.size - place).min()))


def _free_place(room: Room, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    high = min(2.0, float(room.size[2]) - CLEARANCE - 0.01)
    for _ in range(1000):
        place = np.array([*rng.uniform(CLEARANCE, room.size[:2] - CLEARANCE), rng.uniform(0.8, high)])
        if clearance(room, place) >= CLEARANCE:
            return place
    raise ValueError(f"room {room.seed} has no free place for a camera")


def _open_view(room: Room, pose: Pose) -> bool:
    """Whether the camera sees a scene: half of its pixels beyond 1.2 m, all beyond 0.4 m, five surfaces or more."""
    h, w, k = 24, 32, _intrinsics(room_camera(24, 32))
    inverse, code = cast(room.size, room.kind, room.shape, pose[:3, :3], pose[:3, 3], k, h, w)
    return float(np.median(inverse)) < 1 / 1.2 and float(inverse.max()) < 1 / 0.4 and len(np.unique(code >> 3)) >= 5


def room_view(room: Room, seed: int) -> Pose:
    """A random T_world_cam: 0.8-2 m high, pitch -35 to +5 degrees, roll up to 8, mostly towards the room's middle."""
    rng = np.random.default_rng([room.seed, seed, 1])
    pose = np.eye(4)
    for _ in range(200):
        place = _free_place(room, rng)
        middle = room.size[:2] * rng.uniform(0.25, 0.75, 2) - place[:2]
        yaw = math.atan2(middle[1], middle[0]) + rng.normal(0, 0.4)
        pitch, roll = math.radians(rng.triangular(-35, -10, 5)), math.radians(float(np.clip(rng.normal(0, 3), -8, 8)))
        pose = look(place, yaw, pitch, roll)
        if _open_view(room, pose):
            break
    return pose


def room_path(room: Room, seed: int, frames: int) -> Pose:
    """(frames, 4, 4) T_world_cam of a hand-held camera's smooth path, CLEARANCE away from everything.

    About 2 cm and 1 degree from frame to frame; pitch stays within -35 to +5 degrees and roll within 8.
    """
    rng = np.random.default_rng([room.seed, seed, 2])
    start = room_view(room, seed)
    place, forward = start[:3, 3], start[:3, 2]
    yaw0, pitch0 = math.atan2(forward[1], forward[0]), math.asin(float(np.clip(forward[2], -1, 1)))
    time = np.arange(frames) / 30.0
    for attempt in range(200):
        reach = 0.97**attempt
        rate, phase = rng.uniform(0.15, 0.5, (3, 1)), rng.uniform(0, 2 * math.pi, (3, 1))
        size = np.array([[0.6], [0.6], [0.12]]) * rng.uniform(0.3, 1.0, (3, 1)) * reach
        shift = size * (np.sin(2 * math.pi * rate * time + phase) - np.sin(phase))
        path = place[:, None] + shift
        if all(clearance(room, spot) >= CLEARANCE * 0.99 for spot in path.T):
            break
    else:
        path = np.repeat(place[:, None], frames, 1)
    rate, phase = rng.uniform(0.08, 0.3, 3), rng.uniform(0, 2 * math.pi, 3)
    swing = np.sin(2 * math.pi * rate[:, None] * time + phase[:, None])
    yaw = yaw0 + rng.uniform(0.2, 0.6) * (swing[0] - swing[0, 0])
    pitch = np.clip(pitch0 + 0.12 * (swing[1] - swing[1, 0]), math.radians(-35), math.radians(5))
    roll = math.radians(rng.uniform(1, 6)) * swing[2]
    return np.stack([look(path[:, i], yaw[i], pitch[i], roll[i]) for i in range(frames)])
