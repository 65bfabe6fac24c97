"""One small good data set in each layout that is read, for the fuzz matrix and for stores; see `fuzz.Kit`."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from fuzz import Files, Kit, encoded, scene_m
from PIL import Image

from fastseg.data import nyuv2, replica
from fastseg.data.folder import Folder
from fastseg.data.replica import Replica
from fastseg.data.seven_scenes import SevenScenes
from fastseg.data.tum import Tum
from fastseg.frames import Camera

CAMERA = Camera(100.0, 100.0, 79.5, 59.5, 120, 160)
COLOR = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
POSE = b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
RAW = "raw pixels carry no checksum"
TEXT = "a digit becomes another digit"


def millimetres(camera: Camera = CAMERA, unit_m: float = 0.001) -> np.ndarray:
    return np.rint(scene_m(camera) / unit_m).astype(np.uint16)


def about(**other: object) -> bytes:
    camera = {"fx": 100, "fy": 100, "cx": 79.5, "cy": 59.5, "width": 160, "height": 120, "depth_scale": 0.001}
    return json.dumps(camera | other).encode()


VALUES: dict[str, object] = {
    "fx": 1e-9, "fy": 1e30, "cx": -5000, "cy": 1e9, "width": 0, "height": 2**40, "depth_scale": 1e6, "color": "../..",
}  # fmt: skip
ABSURD = {f"intrinsics {key} = {value}": {"intrinsics.json": about(**{key: value})} for key, value in VALUES.items()}


def folder_kit(ending: str, stored: np.ndarray | None = None, kind: str = "", unseen: str = "") -> Kit:
    depth, given = f"depth/a.{ending}", millimetres() if stored is None else stored
    scale = 0.001 if given.dtype == np.uint16 else 1.0
    files = {"intrinsics.json": about(depth_scale=scale), "color/a.png": encoded(COLOR, "PNG"), "poses/a.txt": POSE}

    def encode(array: np.ndarray) -> Files:
        return {depth: encoded(array, kind or ending)}

    names = {"intrinsics.json": TEXT} | ({depth: unseen} if unseen else {})
    return Kit(files | encode(given), "a", depth, given, encode, Folder, ("color/a.png", "poses/a.txt"), names, ABSURD)


def deflated_tiff(array: np.ndarray) -> Files:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return {"depth/a.tiff": buffer.getvalue()}


def compressed_tiff_kit() -> Kit:
    kit = folder_kit("tiff", kind="TIFF", unseen="TIFF tags carry no checksum")
    files = kit.files | deflated_tiff(kit.stored)
    return Kit(files, "a", kit.depth, kit.stored, deflated_tiff, Folder, kit.own, kit.unseen, ABSURD)


def jpeg_kit() -> Kit:
    """Colour as JPEG: a flip in its pixels decodes; the row takes the file's bytes as they are."""
    kit = folder_kit("png", kind="PNG")
    files = {name: data for name, data in kit.files.items() if name != "color/a.png"}
    names = {"intrinsics.json": TEXT, "color/a.jpg": "JPEG pixels carry no checksum"}
    own = ("color/a.jpg", "poses/a.txt")
    return Kit(
        files | {"color/a.jpg": encoded(COLOR, "JPEG")}, "a", kit.depth, kit.stored, kit.encode, Folder, own, names
    )


def seven_scenes_kit() -> Kit:
    depth, stored = "seq-01/frame-000000.depth.png", millimetres()
    frame = {"seq-01/frame-000000.color.png": encoded(COLOR, "PNG"), "seq-01/frame-000000.pose.txt": POSE}

    def encode(array: np.ndarray) -> Files:
        return {depth: encoded(array, "PNG")}

    matrices = {
        "zero focal length": b"0 0 79.5 0 100 59.5 0 0 1", "negative": b"-100 0 79.5 0 100 59.5 0 0 1",
        "centre far away": b"100 0 1e9 0 100 59.5 0 0 1", "skewed": b"100 9 79.5 0 100 59.5 0 0 1",
        "a billion": b"1e9 0 79.5 0 1e9 59.5 0 0 1", "NaN": b"nan " * 9,
    }  # fmt: skip
    files = {"camera-intrinsics.txt": b"100 0 79.5\n0 100 59.5\n0 0 1\n"} | frame | encode(stored)
    special = {f"intrinsics: {name}": {"camera-intrinsics.txt": text} for name, text in matrices.items()}
    names = {"camera-intrinsics.txt": TEXT}
    return Kit(files, "seq-01/frame-000000", depth, stored, encode, SevenScenes, tuple(frame), names, special)


def tum_kit() -> Kit:
    depth, stored = "depth/1.000.png", millimetres(unit_m=1 / 5000)
    color = {"rgb/1.001.png": encoded(COLOR, "PNG")}

    def encode(array: np.ndarray) -> Files:
        return {depth: encoded(array, "PNG")}

    lists = {
        "depth.txt": b"# depth\n1.000 depth/1.000.png\n", "rgb.txt": b"# colour\n1.001 rgb/1.001.png\n",
        "groundtruth.txt": b"1.002 0 0 0 0 0 0 1\n", "intrinsics.json": about(depth_scale=1 / 5000),
    }  # fmt: skip
    special: dict[str, Files] = ABSURD | {
        "zero quaternion": {"groundtruth.txt": b"1.002 0 0 0 0 0 0 0\n"},
        "list of binary": {"depth.txt": bytes(range(256))},
        "times that are none": {"rgb.txt": b"nan rgb/1.001.png\ninf rgb/1.001.png\n"},
    }
    names = {name: TEXT for name in lists}
    return Kit(lists | color | encode(stored), "depth/1.000", depth, stored, encode, Tum, tuple(color), names, special)


def nyuv2_kit() -> Kit:
    stored = scene_m(nyuv2.CAMERA).astype(np.float32)
    color = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)

    def encode(array: np.ndarray, **other: np.ndarray) -> Files:
        upright = {"images": color, "depths": array, "labels": np.zeros((480, 640), np.uint16)} | other
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for name, values in upright.items():
                file[name] = np.ascontiguousarray(values.T)[None]
        return {nyuv2.FILE: buffer.getvalue()}

    short = np.zeros((3, 640), np.uint16)
    special = {"labels of another size": encode(stored, labels=short), "grey images": encode(stored, images=short)}
    names = {nyuv2.FILE: "HDF5 as MATLAB writes it carries no checksum"}
    frame = "nyu_depth_v2_labeled/0001"
    return Kit(encode(stored), frame, nyuv2.FILE, stored, encode, nyuv2.NyuFrames, (), names, special, whole=True)


def replica_kit() -> Kit:
    depth, stored = "depth/0000.png", millimetres(replica.CAMERA)
    color = np.random.default_rng(0).integers(0, 256, (340, 600, 3)).astype(np.uint8)

    def encode(array: np.ndarray) -> Files:
        return {depth: encoded(array, "PNG")}

    files = {"rgb/0000.jpg": encoded(color, "JPEG"), "poses_estimated.txt": POSE.replace(b"\n", b" ") + b"\n"}
    special = {f"poses: {text[:9]!r}": {"poses_estimated.txt": text} for text in (b"nan " * 16, b"0 " * 16, b"1 2 3")}
    names = {"rgb/0000.jpg": "JPEG pixels carry no checksum", "poses_estimated.txt": TEXT}
    return Kit(files | encode(stored), "0000", depth, stored, encode, Replica, ("rgb/0000.jpg",), names, special)


@functools.cache
def made(name: str) -> Kit:
    """The kit of that name in `KITS`, made once."""
    return KITS[name]()


KITS: dict[str, Callable[[], Kit]] = {
    "folder png": lambda: folder_kit("png", kind="PNG"),
    "folder npy": lambda: folder_kit("npy", unseen=RAW),
    "folder npy metres": lambda: folder_kit("npy", scene_m(CAMERA).astype(np.float32), unseen=RAW),
    "folder tiff": lambda: folder_kit("tiff", kind="TIFF", unseen=RAW),
    "folder tiff metres": lambda: folder_kit("tiff", scene_m(CAMERA).astype(np.float32), "TIFF", RAW),
    "folder tiff deflated": compressed_tiff_kit,
    "folder pgm": lambda: folder_kit("pgm", unseen=RAW),
    "folder jpeg": jpeg_kit,
    "7scenes": seven_scenes_kit,
    "tum": tum_kit,
    "nyuv2": nyuv2_kit,
    "replica": replica_kit,
}


def write(root: Path, files: Files) -> Path:
    """`root`, a folder or a place in a store, with the files in it."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root
