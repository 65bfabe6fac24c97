"""L11 for the readers of ScanNet, KITTI, Cityscapes, SUN RGB-D and Redwood: a reason or the right label, never else."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fuzz import SEEDS, Files, Kit, Tally, encoded, outcome, run, scene_m

from fastseg.data.cityscapes import Cityscapes
from fastseg.data.kitti import Kitti
from fastseg.data.places import place
from fastseg.data.redwood import Redwood
from fastseg.data.scannet import ScanNet
from fastseg.data.sens import frame_offsets
from fastseg.data.sunrgbd import SunRgbd
from fastseg.frames import Camera, Frame, FrameError

CAMERA = Camera(100.0, 100.0, 79.5, 59.5, 120, 160)
METRES = scene_m(CAMERA)
MILLIMETRES = np.rint(METRES * 1000).astype(np.uint16)
COLOR = encoded(np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8), "PNG")
MATRIX = b"100 0 79.5\n0 100 59.5\n0 0 1\n"
POSE = b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
TEXT = "a digit becomes another digit"
ABSURD = ("0 0 0 0 0 0 0 0 1", "1e30 0 9 0 1e30 9 0 0 1", "nan 0 9 0 9 9 0 0 1", "100 0 1e9 0 100 9 0 0 1", "", "-1")


def png(name: str) -> Callable[[np.ndarray], Files]:
    return lambda array: {name: encoded(array, "PNG")}


def redwood_kit() -> Kit:
    def camera(*entries: float, width: float = 160) -> bytes:
        return json.dumps({"width": width, "height": 120, "intrinsic_matrix": entries}).encode()

    depth, log, about = "depth/a.png", "trajectory.log", "intrinsic.json"
    good = camera(100, 0, 0, 0, 100, 0, 79.5, 59.5, 1)
    files = {"color/a.png": COLOR, log: b"0 0 1\n" + POSE, about: good} | png(depth)(MILLIMETRES)
    special = {f"camera {text!r}": {about: camera(*map(float, text.split()))} for text in ABSURD}
    special |= {"a huge width": {about: camera(100, 0, 0, 0, 100, 0, 79.5, 59.5, 1, width=2**40)}}
    unseen = {about: TEXT}
    return Kit(files, "a", depth, MILLIMETRES, png(depth), Redwood, ("color/a.png", log, about), unseen, special)


def sun_kit() -> Kit:
    tilt, about, depth = "kv1/a/extrinsics/1.txt", "kv1/a/intrinsics.txt", "kv1/a/depth/x.png"
    stored = (MILLIMETRES << 3) | (MILLIMETRES >> 13)
    files = {"kv1/a/image/x.png": COLOR, about: MATRIX, tilt: b"1 0 0 0\n0 1 0 0\n0 0 1 0\n"} | png(depth)(stored)
    special = {f"intrinsics {text!r}": {about: text.encode()} for text in ABSURD}
    special |= {f"tilt {text!r}": {tilt: text.encode()} for text in ("0 " * 12, "nan " * 12, "inf " * 12, "2 " * 12)}
    unseen = {about: TEXT, tilt: TEXT}
    return Kit(files, "kv1/a", depth, stored, png(depth), SunRgbd, ("kv1/a/image/x.png", about, tilt), unseen, special)


def cityscapes_kit() -> Kit:
    name, good = "val/ulm/ulm_000000_000019", {"fx": 100.0, "fy": 100.0, "u0": 79.5, "v0": 59.5}
    depth, about, color = (
        f"{folder}/{name}_{folder}.{ending}"
        for folder, ending in (("disparity", "png"), ("camera", "json"), ("leftImg8bit", "png"))
    )

    def camera(**other: object) -> Files:
        outer = {"baseline": 0.2, "pitch": 0.0, "roll": 0.0}
        values = {"intrinsic": good | other, "extrinsic": outer | {k: v for k, v in other.items() if k in outer}}
        return {about: json.dumps(values).encode()}

    stored = np.rint(256 * 100 * 0.2 / METRES + 1).astype(np.uint16)
    absurd: tuple[tuple[str, object], ...] = (
        ("fx", 0), ("fy", 1e30), ("u0", -9999), ("baseline", 0), ("baseline", 1e9), ("pitch", 9),
        ("roll", float("nan")), ("fx", "x"), ("v0", None), ("baseline", -1),
    )  # fmt: skip
    special = {f"{key} = {value}": camera(**{key: value}) for key, value in absurd}
    files = {color: COLOR} | camera() | png(depth)(stored)
    return Kit(files, name, depth, stored, png(depth), Cityscapes, (color, about), {about: TEXT}, special)


def kitti_calibration(fx: float = 100.0, cx: float = 79.5, width: float = 160, left: float = 6.0) -> bytes:
    rows = [f"S_rect_02: {width} 120"]
    rows += [f"P_rect_{n}: {fx} 0 {cx} {x} 0 100 59.5 0 0 0 1 0" for n, x in (("02", left), ("03", -48.0))]
    return "\n".join(rows).encode()


def kitti_kit(stereo: bool) -> Kit:
    depth, color, about = "d/proj_depth/groundtruth/image_02/5.png", "d/image_02/data/5.png", "d/calib_cam_to_cam.txt"
    stored = np.rint(METRES * 256).astype(np.uint16)
    if stereo:
        depth, color, about = "t/disp_occ_0/5_10.png", "t/image_2/5_10.png", "t/calib_cam_to_cam/5.txt"
        stored = np.rint(256 * 54 / METRES).astype(np.uint16)
    changes: tuple[dict[str, float], ...] = (
        {"fx": 0}, {"fx": 1e30}, {"fx": float("nan")}, {"cx": 1e9}, {"width": 0}, {"width": 1e30}, {"width": 161},
    )  # fmt: skip
    special = {f"calibration {change}": {about: kitti_calibration(**change)} for change in changes}
    special |= {"no calibration": {about: b""}, "no numbers": {about: b"P_rect_02: a b\n"}}
    if stereo:
        special["a baseline of zero"] = {about: kitti_calibration(left=-48.0)}
    files = {color: COLOR, about: kitti_calibration()} | png(depth)(stored)
    return Kit(files, depth[:-4], depth, stored, png(depth), Kitti, (color, about), {about: TEXT}, special)


@dataclass
class Followed:
    """A ScanNet source whose unreadable file stands under the name of its first frame, so that a kit finds it."""

    source: ScanNet

    def ids(self) -> list[str]:
        return [f"{name}/000000" if name == "s" else name for name in self.source.ids()]

    def load(self, frame_id: str) -> Frame:
        return self.source.load("s" if self.source.ids() == ["s"] else frame_id)

    def inputs(self, frame_id: str) -> list[str]:
        return self.source.inputs(frame_id)


def followed(root: Path) -> Followed:
    frame_offsets.cache_clear()  # the kit changes the file under one name
    return Followed(ScanNet(root))


def sens(depth: bytes, focal: float = 100.0, units: float = 1000.0, width: int = 160, frames: int = 1) -> bytes:
    k = np.array([[focal, 0, 79.5, 0], [0, 100, 59.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "<f4")
    cameras = b"".join(matrix.tobytes() for matrix in (k, np.eye(4, dtype="<f4"), k, np.eye(4, dtype="<f4")))
    sizes = struct.pack("<2i4IfQ", 1, 1, width, 120, width, 120, units, frames)
    frame = np.eye(4, dtype="<f4").tobytes() + struct.pack("<4Q", 0, 0, len(COLOR), len(depth))
    return struct.pack("<IQ", 4, 1) + b"s" + cameras + sizes + frame + COLOR + depth


def sens_kit() -> Kit:
    """The container carries no checksum for the numbers in its headers; depth (Adler-32) and PNG colour have theirs."""

    def encode(array: np.ndarray) -> Files:
        if array.dtype.itemsize != 2:
            raise ValueError("the container holds two bytes a pixel")
        return {"s.sens": sens(zlib.compress(array.tobytes()))}

    good = zlib.compress(MILLIMETRES.tobytes())
    changes: tuple[dict[str, float], ...] = (
        {"focal": 0}, {"focal": 1e30}, {"focal": float("nan")}, {"units": 0}, {"units": 1e-9}, {"units": float("inf")},
        {"width": 0}, {"width": 2**31}, {"width": 161}, {"frames": 0}, {"frames": 2**63},
    )  # fmt: skip
    special = {f"header {change}": {"s.sens": sens(good, **change)} for change in changes}  # type: ignore[arg-type]
    unseen = {"s.sens": "the numbers of the headers carry no checksum"}
    return Kit(
        encode(MILLIMETRES),
        "s/000000",
        "s.sens",
        MILLIMETRES,
        encode,
        followed,
        (),
        unseen,
        special,
    )


def exported_kit() -> Kit:
    """The layout states no size of the depth: one of a row or column more or less is another whole frame."""
    depth, color, pose = "a/depth/7.png", "a/color/7.png", "a/pose/7.txt"
    wide = b"100 0 79.5 0\n0 100 59.5 0\n0 0 1 0\n0 0 0 1\n"
    about = [f"a/intrinsic/intrinsic_{kind}.txt" for kind in ("color", "depth")]
    files = {color: COLOR, pose: POSE} | dict.fromkeys(about, wide) | png(depth)(MILLIMETRES)

    def encode(array: np.ndarray) -> Files:
        if array.shape != (120, 160) and array.ndim == 2 and min(array.shape) > 100 and array.shape[0] < array.shape[1]:
            raise ValueError("nothing tells this size from the right one")
        return {depth: encoded(array, "PNG")}

    special = {f"intrinsics {text!r}": {about[1]: text.encode()} for text in ABSURD}
    special |= {f"colour's {text!r}": {about[0]: text.encode()} for text in ("0 " * 16, "nan " * 16, "1 " * 16)}
    unseen = dict.fromkeys(about, TEXT)
    return Kit(files, "a/7", depth, MILLIMETRES, encode, ScanNet, (color, pose, *about), unseen, special)


KITS: dict[str, Callable[[], Kit]] = {
    "redwood": redwood_kit,
    "sunrgbd": sun_kit,
    "cityscapes": cityscapes_kit,
    "kitti lidar": lambda: kitti_kit(stereo=False),
    "kitti stereo": lambda: kitti_kit(stereo=True),
    "scannet sens": sens_kit,
    "scannet exported": exported_kit,
}


@pytest.mark.parametrize("name", KITS)
def test_damaged_recordings_end_in_a_reason_or_the_right_label(name: str, tmp_path: Path) -> None:
    tally = run(KITS[name](), range(40), tmp_path)
    assert tally.wrong == [] and tally.outcomes.total() == 40, tally


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("name", KITS)
def test_two_hundred_damages_of_each(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally: Tally = run(KITS[name](), range(SEEDS), tmp_path)
    with capsys.disabled():
        print(f"\n{name}: {dict(tally.outcomes)}, unseen {dict(tally.unseen)}")
    assert tally.wrong == [] and tally.outcomes.total() == SEEDS


@pytest.mark.parametrize("name", KITS)
@pytest.mark.parametrize("hostile", ["a\nb", "<script>\x7f", "back\\slash"])
def test_a_name_that_is_no_id_is_refused_before_the_run(name: str, hostile: str, tmp_path: Path) -> None:
    kit = KITS[name]()
    first, _, rest = kit.depth.rpartition("/")
    hidden = f"{first}/{hostile}{rest}" if kit.frame != "kv1/a" else kit.depth.replace("kv1/a/", f"kv1/{hostile}/")
    for file, data in {**kit.files, hidden: kit.files[kit.depth]}.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.lstrip("/")).write_bytes(data)
    with pytest.raises(FrameError) as caught:
        kit.open(tmp_path).ids()
    assert caught.value.reason == "id" and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", KITS)
def test_recordings_in_a_store_have_the_same_label(name: str, tmp_path: Path) -> None:
    kit, store = KITS[name](), place(f"memory://recordings/{name.replace(' ', '-')}")
    for folder in (tmp_path, store):
        for file, data in kit.files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
    what, there = outcome(kit, store)
    assert what == "label" and there == outcome(kit, tmp_path)[1]
    assert all(file.startswith("memory://") for file in kit.open(store).inputs(kit.frame))
