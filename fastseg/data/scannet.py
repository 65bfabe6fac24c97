"""ScanNet (Dai et al., CVPR 2017), `.sens` files or their exported folders: reader `scannet`.

    ROOT/**/NAME.sens                                   see fastseg.data.sens
    ROOT/**/SCENE/depth/N.png  color/N.jpg  pose/N.txt  millimetres; 4x4 camera-to-world
    ROOT/**/SCENE/intrinsic/{intrinsic_color,intrinsic_depth}.txt   4x4

The depth was brought into the colour's camera by the data set's authors, at another resolution: 640x480 and 1296x968.
The two differ by their intrinsics alone, so colour is resampled onto the depth's pixels with them (antialiased, black
where it does not reach) and encoded once, as JPEG; where sizes and intrinsics agree its bytes pass through untouched.
Depth and its camera are never changed. The exported layout states no size: a depth image that is a row short is seen no
sooner than when the two views are 20 % apart. A pose with infinity or NaN (tracking was lost) is no pose.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fastseg.data.checks import (
    Pose,
    check_id,
    check_pose,
    check_size,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    found,
    read_numbers,
    stems,
)
from fastseg.data.images import Color, color_size, decode_color, decode_depth, read_bytes
from fastseg.data.intrinsics import checked_scale, pinhole
from fastseg.data.sens import RAW_COLOR, SensHeader, decode_units, read_frame, read_header
from fastseg.frames import Camera, Frame, FrameError

COLOR_ENDINGS = (".jpg", ".jpeg", ".png")
EXPORTED = ("depth", "color")
JPEG_QUALITY = 95
MAX_APART = 0.2  # of the colour's size, between the edges of the two views


class ScanNet:
    """A FrameSource over ScanNet; ids `scans/scene0000_00/scene0000_00/000123` in a .sens file, SCENE/N exported.

    A .sens file whose header cannot be read is one id, without a number, rejected with the reason: what frames it holds
    is not known. Exported folders beside a .sens file are copies of its frames and are left out. `depth_scale` stands
    for the file's own, and for the exported 0.001 metres a unit.
    """

    def __init__(self, root: Path | str, depth_scale: float | None = None) -> None:
        self.root = existing_folder(root)
        self.depth_scale = None if depth_scale is None else checked_scale(depth_scale, "depth_scale")
        self._headers: dict[str, SensHeader] = {}

    def ids(self) -> list[str]:
        """The sorted ids; ValueError or FrameError `id` as `checked_ids`."""
        names: list[str] = []
        files = stems(self.root, self.root, (".sens",))
        for stem in files:
            try:
                names += [f"{stem}/{k:06d}" for k in range(self._header(stem).frames)]
            except FrameError:
                names.append(stem)  # load tells why
        held = {folder for stem in files for folder in (stem, stem.rpartition("/")[0])}
        parts = (name.rsplit("/", 2) for name in stems(self.root, self.root, COLOR_ENDINGS))
        parts = ((["", *part] if len(part) == 2 else part) for part in parts)
        scenes = {(p[0], p[2]) for p in parts if len(p) == 3 and p[1] in EXPORTED and p[0] not in held}
        names += [f"{scene}/{name}".lstrip("/") for scene, name in scenes]
        return checked_ids(names, self.root, "NAME.sens, or exported SCENE/depth/N.png beside SCENE/color/N.jpg")

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `scale`, `too-large` or `intrinsics`."""
        stem, number = self._split(frame_id)
        if number is not None:
            return self._streamed(frame_id, stem, number)
        folder, _, name = frame_id.rpartition("/")
        return self._exported(frame_id, self.root / folder, name)

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist; the whole .sens file for each of its frames."""
        stem, number = self._split(frame_id)
        if number is not None:
            return [str(path) for path in [self._sens(stem)] if exists(path)]
        folder, name = self.root / frame_id.rpartition("/")[0], frame_id.rpartition("/")[2]
        colors = [folder / "color" / f"{name}{ending}" for ending in COLOR_ENDINGS]
        about = [folder / "intrinsic" / f"intrinsic_{kind}.txt" for kind in EXPORTED]
        paths = (folder / "depth" / f"{name}.png", *colors, folder / "pose" / f"{name}.txt", *about)
        return [str(path) for path in paths if exists(path)]

    def scene(self, frame_id: str) -> str:
        """The scan that the frame is of: the .sens file without its ending, or the exported folder."""
        return frame_id.rpartition("/")[0] or self.root.name

    def _sens(self, stem: str) -> Path:
        path = self.root / stem
        return path.with_name(path.name + ".sens")

    def _split(self, frame_id: str) -> tuple[str, int | None]:
        """(.sens file without its ending, frame), frame -1 for an unreadable file's id; (id, None) when exported."""
        check_id(frame_id, self.root)
        stem, _, number = frame_id.rpartition("/")
        if stem and number.isdecimal() and exists(self._sens(stem)):
            return stem, int(number)
        return (frame_id, -1) if exists(self._sens(frame_id)) else (frame_id, None)

    def _header(self, stem: str) -> SensHeader:
        if stem not in self._headers:
            self._headers[stem] = read_header(self._sens(stem))
        return self._headers[stem]

    def _streamed(self, frame_id: str, stem: str, index: int) -> Frame:
        path, header = self._sens(stem), self._header(stem)
        name = f"{path}, frame {index}"
        if not header.registered:
            wanted = "expected depth registered to colour, its extrinsics the identity"
            raise FrameError("intrinsics", f"{path}: {wanted}; calibrate the scan first")
        frame = read_frame(path, header, index)
        depth = decode_units(frame.depth, header, name)
        cameras = pinhole(header.color, header.color_size, path), pinhole(header.depth, header.depth_size, path)
        if header.color_kind == RAW_COLOR:
            image = registered(raw_color(frame.color, header.color_size, name), *cameras)
        else:
            image = registered_bytes(frame.color, *cameras, name)
        scale = 1 / header.units if self.depth_scale is None else self.depth_scale
        return checked_frame(Frame(frame_id, depth, scale, cameras[1], image, finite_pose(frame.pose, name)), name)

    def _exported(self, frame_id: str, folder: Path, name: str) -> Frame:
        path = found(folder / "depth" / name, (".png",), "depth")
        depth = decode_depth(path)
        color = found(folder / "color" / name, COLOR_ENDINGS, "colour")
        data = read_bytes(color)
        about = [folder / "intrinsic" / f"intrinsic_{kind}.txt" for kind in ("color", "depth")]
        matrices = [read_numbers(file, 4, 4, "an intrinsic matrix") for file in about]
        from_camera = pinhole(matrices[0], color_size(data, str(color)), about[0])
        camera = pinhole(matrices[1], (depth.shape[0], depth.shape[1]), about[1])
        image = registered_bytes(data, from_camera, camera, str(color))
        scale = 0.001 if self.depth_scale is None else self.depth_scale
        frame = checked_frame(Frame(frame_id, depth, scale, camera, image), str(path))
        pose = folder / "pose" / f"{name}.txt"
        if not exists(pose):
            return frame
        return replace(frame, pose=finite_pose(read_numbers(pose, 4, 4, "a camera-to-world pose"), str(pose)))


def finite_pose(pose: Pose, name: str) -> Pose | None:
    """`pose`, or None when it holds infinity or NaN (tracking was lost); FrameError `type` for no rigid motion."""
    return check_pose(pose, name) if np.isfinite(pose).all() else None


def raw_color(data: bytes, size: tuple[int, int], name: str) -> Color:
    """The colour (H, W, 3) uint8 of uncompressed bytes; FrameError `decode` unless there are exactly as many."""
    expected = 3 * size[0] * size[1]
    if len(data) != expected:
        raise FrameError("decode", f"{name}: expected {expected} bytes of raw colour; got {len(data)}", len(data))
    return np.frombuffer(data, np.uint8).reshape(*size, 3)


def registered_bytes(data: bytes, color: Camera, depth: Camera, name: str) -> bytes:
    """A colour file's bytes on the depth camera's pixels: untouched when the cameras agree, else by `registered`.

    Raises FrameError `size` when the file is not of its camera's size, `decode`, `type` or `too-large`, naming `name`.
    """
    check_size(color_size(data, name), (color.height, color.width), f"{name}: colour", "its camera")
    if color == depth:
        return data
    image = decode_color(data, name, at_least=(depth.height, depth.width))
    return registered(image, color.resized(image.shape[0], image.shape[1]), depth)


def registered(image: Color, color: Camera, depth: Camera) -> bytes:
    """A colour image (H, W, 3) uint8 resampled onto the pixels of a depth camera at the same place, as JPEG.

    A depth pixel u looks where the colour's pixel (u - cx) fx' / fx + cx' does, the primed ones the colour's. Bilinear
    with antialias; black outside the colour image. Raises FrameError `intrinsics` when an edge lies far off.
    """
    left, width = _span(depth.fx, depth.cx, depth.width, color.fx, color.cx)
    top, height = _span(depth.fy, depth.cy, depth.height, color.fy, color.cy)
    over = (-left, -top, left + width - color.width, top + height - color.height)
    if max(map(abs, over[::2])) > MAX_APART * color.width or max(map(abs, over[1::2])) > MAX_APART * color.height:
        raise FrameError("intrinsics", f"expected colour and depth of the same view; got {color} and {depth}")
    pad = [max(0, math.ceil(pixels)) for pixels in over]
    canvas = np.pad(image, ((pad[1], pad[3]), (pad[0], pad[2]), (0, 0))) if any(pad) else image
    box = (left + pad[0], top + pad[1], left + width + pad[0], top + height + pad[1])
    buffer = io.BytesIO()
    made = Image.fromarray(canvas).resize((depth.width, depth.height), Image.Resampling.BILINEAR, box)
    made.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _span(focal: float, center: float, size: int, to_focal: float, to_center: float) -> tuple[float, float]:
    """(start, length) of `size` pixels on the other image, in pixels from its edge (pixel k covers k to k + 1)."""
    step = to_focal / focal
    return to_center + 0.5 - (center + 0.5) * step, size * step
