"""Clips by name: the one table from a program's `--clips` to the class that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never

from fastseg.data.checks import is_folder
from fastseg.data.cityscapes_clips import CityscapesClips
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import RecordedClips
from fastseg.data.folder_clips import FolderClips
from fastseg.data.kitti_clips import Cameras, KittiOdometry
from fastseg.data.kitti_raw_clips import KittiRaw
from fastseg.data.layouts import check_clips
from fastseg.data.places import place
from fastseg.data.room_clips import RoomClips
from fastseg.data.sensor_clips import SensorClips
from fastseg.data.sources import Reader, open_source, read_rooms
from fastseg.data.stereo_clips import StereoClips
from fastseg.data.video_clips import ENDINGS, VideoClips
from fastseg.frames import Clips, DepthClips

ClipSource = Literal["folder", "video", "kitti-odometry", "kitti-raw", "cityscapes", "stereo", "rooms", "frames"]
CLIPS_TAKE: dict[ClipSource, tuple[str, ...]] = {  # the options of each source
    "folder": ("intrinsics",),
    "video": ("intrinsics",),
    "kitti-odometry": ("cameras",),
    "kitti-raw": ("cameras",),
    "cityscapes": ("split",),
    "stereo": (),
    "rooms": (),
    "frames": ("reader", "intrinsics", "split"),
}


def open_clips(
    name: ClipSource,
    root: Path | str,
    plan: ClipPlan | None = None,
    *,
    intrinsics: Path | str | None = None,
    cameras: Cameras | None = None,
    split: str | None = None,
    reader: Reader | None = None,
    min_motion: float = 0.0,
) -> RecordedClips:
    """The clips of what lies at `root`, in the layout that `name` names (see fastseg.data.layouts.CLIPS).

    plan: the source frames of a target; None: its two neighbours, for stereo the pair, for frames none.
    intrinsics: a file, `fx,fy,cx,cy` or `learn` (folder, video; of frames what the reader takes).
    cameras: colour or grey (KITTI). split: a folder's name (cityscapes), what the reader takes (frames).
    reader: of open_source (frames; default folder). min_motion: above 0, clips whose camera stands still are left out
    (see `RecordedClips.moving`), for which every picture is read once.
    Raises FileNotFoundError, ValueError or FrameError with one sentence when there are no such clips.
    """
    check_clips(name)
    given = {"intrinsics": intrinsics, "cameras": cameras, "split": split, "reader": reader}
    for option, value in given.items():
        if value is not None and option not in CLIPS_TAKE[name]:
            raise ValueError(f"clips {name} take no {option}; got {value}")
    if name != "video" and str(root).lower().endswith(ENDINGS) and not is_folder(place(root)):
        raise ValueError(f"{root}: expected a folder, as clips {name} are; a video file is clips video")
    if not min_motion >= 0:
        raise ValueError(f"min_motion must be 0 or above; got {min_motion}")
    clips = _opened(name, root, plan, intrinsics, cameras or "colour", split, reader or "folder")
    return clips.moving(min_motion) if min_motion else clips


def with_depth(clips: Clips) -> DepthClips:
    """The same clips when their targets have measured depth (stereo, rooms, frames); ValueError when they have none."""
    if not isinstance(clips, StereoClips | RoomClips | SensorClips):
        wanted = "expected clips with measured depth for this supervision: frames, stereo or rooms"
        raise ValueError(f"{wanted}; {type(clips).__name__} have none")
    return clips


def _opened(
    name: ClipSource, root: Path | str, plan: ClipPlan | None, intrinsics: Path | str | None, cameras: Cameras,
    split: str | None, reader: Reader,
) -> RecordedClips:  # fmt: skip
    match name:
        case "folder":
            return FolderClips(root, plan, intrinsics)
        case "video":
            return VideoClips(root, plan, intrinsics)
        case "kitti-odometry":
            return KittiOdometry(root, plan, cameras)
        case "kitti-raw":
            return KittiRaw(root, plan, cameras)
        case "cityscapes":
            return CityscapesClips(root, plan, split)
        case "stereo":
            return StereoClips(root, plan)
        case "rooms":
            return RoomClips(**read_rooms(place(root) / "rooms.json", ("noise",)), plan=plan)
        case "frames":
            return SensorClips(open_source(reader, root, intrinsics=intrinsics, split=split), plan)
    assert_never(name)
