"""What each reader, labelled set and source of clips looks for: the answer to a name that does not exist."""

from __future__ import annotations

import difflib

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


LABELLED = {
    "folder": "color/NAME.jpg, labels/NAME.png, classes.txt; splits all, or NAME of NAME.txt",
    "camvid": "train/NAME.png, trainannot/NAME.png, ...; splits train, val, test",
    "nyuv2": "nyu_depth_v2_labeled.mat, splits.mat, classMapping40.mat; splits train, test, all",
    "nyuv2-13": "as nyuv2, its 40 classes united to 13",
    "sunrgbd": "SUNRGBD/ and SUNRGBDtoolbox/, or the labels exported as PNG; splits train, test",
    "replica": "rgb/NNNN.jpg, class/NNNN.png, classes.tsv; split all",
    "rooms": "SPLIT.json with seed and count: images are rendered",
    "voc": "VOC2012: JPEGImages/, SegmentationClass/, SegmentationClassAug/; splits train, train_aug, val, trainval",
    "voc-context": "VOC2010 with JPEGImages/, and SegmentationClassContext/ or trainval/*.mat; splits train, val",
    "voc-context-59": "as voc-context, its background ignored",
    "ade20k": "images/training/, annotations/training/, ...; splits train, val",
    "cityscapes": "leftImg8bit/SPLIT/CITY/, gtFine/SPLIT/CITY/; splits train, val",
    "kitti": "training/image_2/, training/semantic/; splits train, val, all",
    "stanford-2d3d": "area_1/data/rgb/, area_1/data/semantic/, ..., assets/semantic_labels.json; splits train, test, "
    "fold2-train, fold2-test, fold3-train, fold3-test, or an area",
    "stanford-2d3d-pano": "the same of area_1/pano/, ...",
}

CLIPS = {
    "folder": "frames NAME.jpg in order, intrinsics.json, poses/NAME.txt or poses.txt; option intrinsics",
    "video": "a video file or a folder of them, intrinsics.json beside; option intrinsics",
    "kitti-odometry": "sequences/NN/image_2/N.png, image_3/, calib.txt, times.txt, poses/NN.txt; option cameras",
    "kitti-raw": "DATE/DRIVE/image_02/data/N.png, image_03/, oxts/, DATE/calib_cam_to_cam.txt; option cameras",
    "cityscapes": "leftImg8bit_sequence/SPLIT/CITY/, rightImg8bit_sequence/, camera/; option split",
    "stereo": "left/NAME.png, right/NAME.png, disparity/NAME.npy, stereo.json",
    "rooms": "rooms.json with seed and count: walks are rendered",
    "frames": "RGB-D frames of any reader, supervised by their depth; option reader, and the reader's own",
}


def check_clips(name: str) -> None:
    """None; ValueError lists the sources of clips and what each looks for when `name` is none of them."""
    _check_known(name, CLIPS, "source of clips")


def check_reader(name: str) -> None:
    """None; ValueError lists the readers and what each looks for when `name` is none of them."""
    _check_known(name, LAYOUTS, "reader")


def check_labelled(name: str) -> None:
    """None; ValueError lists the labelled sets and what each looks for when `name` is none of them."""
    _check_known(name, LABELLED, "labelled set")


def _check_known(name: str, layouts: dict[str, str], what: str) -> None:
    if name not in layouts:
        near = difflib.get_close_matches(name, layouts, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        listed = "; ".join(f"{each} ({layout})" for each, layout in layouts.items())
        raise ValueError(f"no {what} {name!r}{hint}; expected one of: {listed}")
