"""What every reader checks alike: names before a run, then each frame's arrays, scale and pose."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.images import UNCOMPRESSED, Depth, color_size, encoded_color, read_bytes
from fastseg.data.places import answered, holding, place, walk_files
from fastseg.frames import Camera, Frame, FrameError

Pose = npt.NDArray[np.float64]

NEAREST_M, FARTHEST_M = 0.1, 100.0
MAX_TEXT_BYTES = 2**16  # of a file of a few numbers
MAX_SKEW = 5e-3  # of R^T R from the identity: 7-Scenes poses printed to 7 digits reach 2.4e-4


def existing_folder(path: Path | str) -> Path:
    """The place `path`; FileNotFoundError with one sentence when it is no folder."""
    folder = place(path)
    with answered(folder):
        there = folder.is_dir()
    if not there:
        raise FileNotFoundError(f"{folder}: expected a folder with the data set; {holding(folder)}")
    return folder


def exists(path: Path) -> bool:
    """Whether there is such a file; FrameError `missing` when that cannot be found out."""
    try:
        with answered(path):
            return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise FrameError("missing", f"{path}: cannot be looked at ({error.strerror})") from error


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; FrameError `missing` when that cannot be found out."""
    try:
        with answered(path):
            return path.is_dir()
    except OSError as error:
        raise FrameError("missing", f"{path}: cannot be looked at ({error.strerror})") from error


def stems(folder: Path, root: Path, endings: tuple[str, ...], prefix: str = "") -> list[str]:
    """Paths below `folder`, `/`-separated, of the files that end in one of `endings` (any case), the ending cut off.

    A name occurs once for each file that has it. Hidden files are left out. Raises FrameError `id` for a link that
    leads out of `root` or to a folder: what is listed must lie where it seems to.
    """
    names: list[str] = []
    for name, _ in walk_files(folder, root):
        low = name.lower()
        ending = next((e for e in endings if low.endswith(e)), None)
        if ending and name.startswith(prefix, name.rfind("/") + 1):
            names.append(name[: -len(ending)])
    return names


def checked_ids(ids: Iterable[str], root: Path, expected: str) -> list[str]:
    """The ids sorted; ValueError when there is none, FrameError `id` for a bad or twin name.

    Bad: absolute, with an empty or `..` component, a component over 255 bytes, a control character, or not UTF-8.
    Twins: equal, or equal but for case (they would be one file on a case-insensitive disk).
    """
    names = sorted(ids)
    if not names:
        raise ValueError(f"{root}: holds no frames; expected {expected}, and {holding(root)}")
    seen: dict[str, str] = {}
    for name in names:
        check_id(name, root)
        if (twin := seen.get(name.casefold())) is not None:
            what = "two files have the id" if twin == name else "ids must differ in more than case; got"
            both = repr(name) if twin == name else f"{twin!r} and {name!r}"
            raise FrameError("id", f"{root}: frame ids must be unique; {what} {both}")
        seen[name.casefold()] = name
    return names


def check_id(name: str, root: Path) -> None:
    """Raise FrameError `id` unless `name` is a plain relative path below `root`."""
    parts = name.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode("utf-8", "replace")) > 255 for part in parts)
    if bad or not name.isprintable() or "\\" in name:
        raise FrameError(
            "id", f"{root}: {name!r} is no frame id; expected a plain relative path of printable characters"
        )


def found(stem: Path, endings: tuple[str, ...], what: str) -> Path:
    """The file `stem` + one of `endings` (lower or upper case); FrameError `missing` when there is none."""
    for ending in (*endings, *(e.upper() for e in endings)):
        path = stem.with_name(stem.name + ending)
        if exists(path):
            return path
    raise FrameError(
        "missing", f"{stem}{endings[0]}: expected the frame's {what} ({', '.join(endings)}); there is none"
    )


def read_color(path: Path, size: tuple[int, int], depth_path: Path) -> bytes:
    """The colour file's bytes, checked to be whole and of the depth's (height, width); FrameError `size` otherwise.

    JPEG, PNG and WebP pass through untouched; what is uncompressed comes as a PNG (`images.encoded_color`).
    """
    data = read_bytes(path)
    if path.suffix.lower() in UNCOMPRESSED:
        data, got = encoded_color(data, str(path))
    else:
        got = color_size(data, str(path))
    check_size(got, size, f"{path}: colour", f"depth in {depth_path}")
    return data


def check_size(got: tuple[int, int], expected: tuple[int, int], what: str, of: str) -> None:
    """Raise FrameError `size` unless both (height, width) are equal."""
    if got != expected:
        wanted = f"{expected[1]}x{expected[0]}"
        raise FrameError("size", f"{what} must be {wanted} as the {of}; got {got[1]}x{got[0]}", got[0] * got[1])


def read_numbers(path: Path, rows: int, columns: int, what: str) -> Pose:
    """The (rows, columns) float64 numbers of a text file, NaN and inf allowed; FrameError `decode` or `missing`."""
    text = read_bytes(path, MAX_TEXT_BYTES)
    try:
        return np.array(text.split(), np.float64).reshape(rows, columns)
    except ValueError as error:
        raise FrameError("decode", f"{path}: expected {what}, {rows}x{columns} numbers") from error


def check_pose(pose: Pose, name: str) -> Pose:
    """`pose` (4, 4) camera-to-world when finite with an orthonormal rotation; FrameError `type` otherwise."""
    rotation = pose[:3, :3]
    if not np.isfinite(pose).all():
        raise FrameError("type", f"{name}: expected a finite camera-to-world pose; it holds NaN or infinity")
    skew = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if skew > MAX_SKEW or np.linalg.det(rotation) < 0 or not np.allclose(pose[3], (0, 0, 0, 1), atol=1e-6):
        wanted = "expected a 4x4 camera-to-world pose [R t; 0 0 0 1] with R orthonormal"
        raise FrameError("type", f"{name}: {wanted}; R^T R is off by {skew:.3g}", skew)
    return pose


def read_pose(path: Path) -> Pose:
    """The (4, 4) float64 camera-to-world pose of a text file; FrameError `missing`, `decode` or `type`."""
    return check_pose(read_numbers(path, 4, 4, "a camera-to-world pose"), str(path))


def median_m(depth: Depth, depth_scale: float) -> float:
    """Median of the valid depth in metres over a grid of about 64x64 pixels (all of them when the grid has none)."""
    step = max(1, min(depth.shape) // 64)
    for seen in (depth[::step, ::step], depth):
        valid = seen[np.isfinite(seen) & (seen > 0)]
        if valid.size:
            return float(np.median(valid.astype(np.float64))) * depth_scale
    return float("nan")


def checked_frame(frame: Frame, name: str) -> Frame:
    """`frame` when its depth suits its camera and its scale is plausible; `name` is the depth file for the sentence.

    Raises FrameError `type` (not (H, W) uint16 or float32), `size` (depth against camera) or `scale` (median of the
    valid depth outside 0.1 to 100 m: a wrong `depth_scale`). A frame without valid depth passes: that is for the label
    to say.
    """
    depth = frame.depth
    if depth.ndim != 2 or depth.dtype not in (np.float32, np.uint16):
        raise FrameError("type", f"{name}: depth must be (H, W) uint16 or float32; got {depth.dtype} {depth.shape}")
    camera: Camera = frame.camera
    check_size((depth.shape[0], depth.shape[1]), (camera.height, camera.width), f"{name}: depth", "camera's image")
    median = median_m(depth, frame.depth_scale)
    if median < NEAREST_M or median > FARTHEST_M:
        hint = "0.001 (millimetres) meant" if median > FARTHEST_M else "a larger one meant, as 1 for metres"
        limits = f"expected {NEAREST_M:g} to {FARTHEST_M:g} m"
        sentence = f"median depth is {median:.4g} m, {limits}: depth_scale is {frame.depth_scale:g}; is {hint}?"
        raise FrameError("scale", f"{name}: {sentence}", median)
    return frame
