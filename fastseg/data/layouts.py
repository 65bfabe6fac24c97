"""What each reader of `open_source` looks for, in one line: the answer to a reader that does not exist."""

from __future__ import annotations

import difflib
from typing import get_args

from fastseg.data.sources import Reader

LAYOUTS = {
    "folder": "color/NAME.jpg, depth/NAME.png, intrinsics.json; options depth_scale, intrinsics",
    "7scenes": "frame-NNNNNN.color.png, .depth.png, .pose.txt; option depth_scale",
    "tum": "rgb.txt, depth.txt and the images they name; options depth_scale, intrinsics, camera",
    "nyuv2": "nyu_depth_v2_labeled.mat; option split",
    "nyuv2-raw": "scene folders, or zip files of them, with INDEX.txt, *.ppm, *.pgm, a-*.dump",
    "replica": "rgb/NNNN.jpg, depth/NNNN.png; option depth_scale",
    "rooms": "rooms.json with seed and count: frames are rendered",
    "scannet": "NAME.sens, or SCENE/depth/, color/, pose/, intrinsic/ exported of one; option depth_scale",
    "kitti": "proj_depth/groundtruth/, groundtruth_depth/ or disp_occ_0/, and colour and calibration beside them",
    "cityscapes": "disparity/, leftImg8bit/, camera/; option split",
    "sunrgbd": "frame folders with image/, depth/, intrinsics.txt, extrinsics/; option depth_scale",
    "redwood": "depth/NAME.png, color/NAME.jpg, of one recording or in scene folders; option depth_scale",
}


def check_reader(name: str) -> None:
    """None; ValueError lists the readers and what each looks for when `name` is none of them."""
    known = get_args(Reader)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        listed = "; ".join(f"{reader} ({LAYOUTS[reader]})" for reader in known)
        raise ValueError(f"no reader {name!r}{hint}; expected one of: {listed}")
