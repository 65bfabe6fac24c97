"""A plain data set's `intrinsics.json`: the camera, the metres of one depth unit, the names of the folders."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.data.checks import Pose, check_id
from fastseg.data.places import holding, read_at_most
from fastseg.frames import Camera, FrameError

NUMBERS = ("fx", "fy", "cx", "cy", "width", "height")
MAX_BYTES = 2**20
FOLDERS = ("color", "depth", "poses", "labels")


@dataclass(frozen=True)
class Intrinsics:
    """What `intrinsics.json` says: `depth_scale` metres a unit (None: not stated), `color` None for depth alone."""

    path: Path
    camera: Camera
    depth_scale: float | None
    color: str | None
    depth: str
    poses: str
    labels: str


def read_intrinsics(path: Path) -> Intrinsics:
    """The contents of an `intrinsics.json`.

    Keys: fx, fy, cx, cy (pixels), width, height; depth_scale (metres for one unit of depth, 0.001 for millimetres);
    optional folder names color, depth, poses, labels (default: the key itself; `"color": null` means there is none).
    Raises FileNotFoundError or FrameError `intrinsics` with one sentence.
    """
    values = _read_object(path)
    numbers = {key: number(values, key, path) for key in NUMBERS}
    height, width = int(numbers.pop("height")), int(numbers.pop("width"))
    camera = named(path, lambda: Camera(**numbers, height=height, width=width))
    scale = None
    if "depth_scale" in values:
        scale = checked_scale(number(values, "depth_scale", path), str(path))
    names = {key: values.get(key, key) for key in FOLDERS}
    for key, name in names.items():
        if name is not None or key != "color":
            _check_folder(key, name, path)
    return Intrinsics(path, camera, scale, **names)


def checked_scale(scale: float, name: str) -> float:
    """`scale` when it is a positive finite number of metres; ValueError naming `name` otherwise."""
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{name}: depth_scale must be a positive number of metres a unit; got {scale!r}")
    return scale


def named(path: Path, build: Callable[[], Camera]) -> Camera:
    """The camera that `build` makes; its FrameError names the file it was read from."""
    try:
        return build()
    except FrameError as error:
        raise FrameError(error.reason, f"{path}: {error.detail}", error.value) from None


def pinhole(matrix: Pose, size: tuple[int, int], path: Path) -> Camera:
    """The camera of an intrinsic matrix [fx 0 cx; 0 fy cy; 0 0 1] in the upper left of `matrix`, for (height, width).

    Raises FrameError `intrinsics`, naming the file, for another form or absurd values.
    """
    fx, fy, cx, cy = (float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if not np.allclose(matrix[:3, :3], np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)):
        wanted = "expected an intrinsic matrix [fx 0 cx; 0 fy cy; 0 0 1]"
        raise FrameError("intrinsics", f"{path}: {wanted}; got {matrix[:3, :3].tolist()}")
    return named(path, lambda: Camera(fx, fy, cx, cy, *size))


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file about a camera, `what` it should be; FrameError `missing` or `intrinsics`."""
    try:
        values = json.loads(read_at_most(path, MAX_BYTES).decode("utf-8"))
    except FrameError as error:
        raise FrameError("intrinsics", error.detail, error.value) from None
    except OSError as error:
        raise FrameError("missing", f"{path}: expected {what} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise FrameError("intrinsics", f"{path}: expected {what} ({error})") from error
    if not isinstance(values, dict):
        raise FrameError("intrinsics", f"{path}: expected {what}; got {type(values).__name__}")
    return values


def number(values: dict[str, Any], key: str, path: Path) -> float:
    """The number `key` of a JSON object, whole for width and height; FrameError `intrinsics` naming the file."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, int) and abs(value) > 10**9):
        raise FrameError("intrinsics", f"{path}: expected a number {key!r}; got {value!r}")
    if key in ("width", "height") and not (math.isfinite(value) and value == int(value)):
        raise FrameError("intrinsics", f"{path}: {key!r} must be a whole number of pixels; got {value!r}")
    return float(value)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path, f"a JSON object with {', '.join((*NUMBERS, 'depth_scale'))}")
    except FrameError as error:
        if error.reason != "missing":
            raise
        raise FileNotFoundError(f"{error.detail}; {holding(path.parent)}") from error
    unknown = sorted(values.keys() - {*NUMBERS, *FOLDERS, "depth_scale"})
    if unknown:
        raise FrameError("intrinsics", f"{path}: unknown keys {', '.join(map(repr, unknown))}")
    return values


def _check_folder(key: str, name: object, path: Path) -> None:
    if not isinstance(name, str):
        raise FrameError("intrinsics", f"{path}: {key!r} must name a folder; got {name!r}")
    check_id(name, path)
