"""Data sets by name: the one table from a program's `--reader` or `--data` to the class that reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, assert_never

from fastseg.data.ade20k import Ade20k
from fastseg.data.camvid import CamVid
from fastseg.data.cityscapes import Cityscapes
from fastseg.data.cityscapes_labels import CityscapesLabels
from fastseg.data.folder import Folder, FolderLabels
from fastseg.data.kitti import Kitti
from fastseg.data.kitti_labels import KittiLabels
from fastseg.data.layouts import check_labelled, check_reader
from fastseg.data.nyuv2 import NyuFrames, NyuLabels
from fastseg.data.nyuv2_raw import NyuRaw
from fastseg.data.places import holding, place, read_at_most
from fastseg.data.png import MAX_PIXELS
from fastseg.data.redwood import Redwood
from fastseg.data.replica import Replica, ReplicaLabels
from fastseg.data.scannet import ScanNet
from fastseg.data.seven_scenes import SevenScenes
from fastseg.data.stanford_2d3d import Stanford2d3d, Stanford2d3dPano
from fastseg.data.sunrgbd import SunRgbd
from fastseg.data.sunrgbd_labels import sunrgbd_labels
from fastseg.data.tum import CameraName, Tum
from fastseg.data.voc import Voc
from fastseg.data.voc_context import VocContext
from fastseg.frames import FrameSource, LabelledImages

Reader = Literal[
    "folder", "7scenes", "tum", "nyuv2", "nyuv2-raw", "replica", "scannet", "kitti", "cityscapes", "sunrgbd", "redwood",
    "rooms",
]  # fmt: skip
TAKES: dict[Reader, tuple[str, ...]] = {  # the options of each reader
    "folder": ("depth_scale", "intrinsics"),
    "7scenes": ("depth_scale",),
    "tum": ("depth_scale", "intrinsics", "camera"),
    "nyuv2": ("split",),
    "nyuv2-raw": (),
    "replica": ("depth_scale",),
    "rooms": (),
    "scannet": ("depth_scale",),
    "kitti": (),
    "cityscapes": ("split",),
    "sunrgbd": ("depth_scale",),
    "redwood": ("depth_scale",),
}
Labelled = Literal[
    "folder", "camvid", "nyuv2", "nyuv2-13", "sunrgbd", "replica", "rooms", "voc", "voc-context", "voc-context-59",
    "ade20k", "cityscapes", "kitti", "stanford-2d3d", "stanford-2d3d-pano",
]  # fmt: skip


def open_source(
    reader: Reader,
    root: Path | str,
    *,
    depth_scale: float | None = None,
    intrinsics: Path | str | None = None,
    camera: CameraName | None = None,
    split: str | None = None,
) -> FrameSource:
    """The frames of the data set at `root`, in the layout that `reader` names (see fastseg.data.<reader>).

    root: a folder, or a place in a store such as s3://bucket/folder (see fastseg.data.places).
    depth_scale: metres for one unit of depth, instead of the data set's own; not for readers that convert it.
    intrinsics: an `intrinsics.json` that lies elsewhere (folder, tum). camera: a published camera (tum; default ros).
    split: all, train or test (nyuv2; default all), or a folder's name (cityscapes; default all of them).
    rooms: `root` is a folder with rooms.json, see `read_rooms`.
    Raises FileNotFoundError, ValueError or FrameError with one sentence when there is no such data set.
    """
    check_reader(reader)
    given = {"depth_scale": depth_scale, "intrinsics": intrinsics, "camera": camera, "split": split}
    for name, value in given.items():
        if value is not None and name not in TAKES[reader]:
            raise ValueError(f"reader {reader} takes no {name}; got {value}")
    return _opened(reader, root, depth_scale, intrinsics, camera, split)


def _opened(
    reader: Reader, root: Path | str, depth_scale: float | None, intrinsics: Path | str | None,
    camera: CameraName | None, split: str | None,
) -> FrameSource:  # fmt: skip
    match reader:
        case "folder":
            return Folder(root, depth_scale, intrinsics)
        case "7scenes":
            return SevenScenes(place(root), depth_scale)
        case "tum":
            return Tum(root, depth_scale, intrinsics, camera)
        case "nyuv2":
            return NyuFrames(root, split or "all")
        case "nyuv2-raw":
            return NyuRaw(place(root))
        case "replica":
            return Replica(place(root), depth_scale)
        case "scannet":
            return ScanNet(place(root), depth_scale)
        case "kitti":
            return Kitti(place(root))
        case "cityscapes":
            return Cityscapes(place(root), split)
        case "sunrgbd":
            return SunRgbd(place(root), depth_scale)
        case "redwood":
            return Redwood(place(root), depth_scale)
        case "rooms":
            from fastseg.data.rooms import Rooms

            return Rooms(**read_rooms(place(root) / "rooms.json", ("noise", "path")))
    assert_never(reader)


def open_labelled(name: Labelled, root: Path | str, split: str) -> LabelledImages:
    """The labelled images of one split of the data set at `root`, in the layout of `fastseg.data.layouts.LABELLED`.

    Those of folder, nyuv2, sunrgbd, replica, rooms, cityscapes, kitti and stanford-2d3d are `LabelledFrames`, where
    what they were measured with lies there too. Raises FileNotFoundError, ValueError or FrameError with one sentence.
    """
    check_labelled(name)
    match name:
        case "folder":
            return FolderLabels(root, split)
        case "camvid":
            return CamVid(root, split)
        case "nyuv2":
            return NyuLabels(root, split)
        case "nyuv2-13":
            return NyuLabels(root, split, classes=13)
        case "sunrgbd":
            return sunrgbd_labels(root, split)
        case "replica":
            return ReplicaLabels(root, split)
        case "rooms":
            from fastseg.data.rooms import RoomImages

            return RoomImages(**read_rooms(place(root) / f"{split}.json", ()))
        case "voc":
            return Voc(root, split)
        case "voc-context":
            return VocContext(root, split)
        case "voc-context-59":
            return VocContext(root, split, background=False)
        case "ade20k":
            return Ade20k(root, split)
        case "cityscapes":
            return CityscapesLabels(root, split)
        case "kitti":
            return KittiLabels(root, split)
        case "stanford-2d3d":
            return Stanford2d3d(root, split)
        case "stanford-2d3d-pano":
            return Stanford2d3dPano(root, split)
    assert_never(name)


def read_rooms(path: Path, switches: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of procedural rooms from a JSON file: seed, count; optional height, width, views, `switches`."""
    try:
        values = json.loads(read_at_most(path, 2**20).decode("utf-8"))
    except OSError as error:
        raise FileNotFoundError(
            f'{path}: expected JSON such as {{"seed": 1, "count": 200}} ({error.strerror}); {holding(path.parent)}'
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object ({error})") from error
    numbers = ("seed", "count", "height", "width", "views")
    if not isinstance(values, dict) or not {"seed", "count"} <= values.keys() <= {*numbers, *switches}:
        raise ValueError(f"{path}: expected seed and count, optionally {', '.join((*numbers[2:], *switches))}")
    for key, value in values.items():
        wanted = bool if key in switches else int
        if type(value) is not wanted or (wanted is int and not 0 <= value < 2**31):
            raise ValueError(
                f"{path}: {key} must be a {'true or false' if wanted is bool else 'whole number'}; got {value!r}"
            )
    _check_rooms(values, path)
    return values


def _check_rooms(values: dict[str, Any], path: Path) -> None:
    """ValueError for more rooms than ids can name, or larger pictures than any reader takes."""
    height, width = values.get("height", 480), values.get("width", 640)
    if not (values["count"] <= 10**6 and values.get("views", 1) <= 10**4 and 0 < height * width <= MAX_PIXELS):
        wanted = f"at most 1000000 frames, 10000 views of a room, and 1 to {MAX_PIXELS} pixels"
        got = f"{values['count']}, {values.get('views', 1)} and {width}x{height}"
        raise ValueError(f"{path}: expected {wanted}; got {got}")
