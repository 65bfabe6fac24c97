from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from labelled_kits import COLOR, KITS, NAMES_2D3D, numbers, picture
from recorded import encoded, put

from fastseg.data.png import decode_png16
from fastseg.data.stanford_2d3d import AREAS, CLASS_NAMES, FOLDS, Stanford2d3d, Stanford2d3dPano, read_classes
from fastseg.frames import FrameError

STORED = np.full((32, 48), 1024, np.uint16)
STORED[0, :3] = (65535, 0, 1)
K = [[100.0, 0, 23.5], [0, 100.0, 15.5], [0, 0, 1]]


def stem(area: str, kind: str, what: str) -> str:
    return f"{area}/{kind}/{what}/camera_0a_hallway_1_frame_0_domain_{what}"


def write(root: Path, areas: tuple[str, ...] = AREAS, kind: str = "data") -> Path:
    put(root / "semantic_labels.json", json.dumps(NAMES_2D3D))
    for area in areas:
        put(root / f"{stem(area, kind, 'rgb')}.png", picture("a.png"))
        put(root / f"{stem(area, kind, 'semantic')}.png", numbers(np.full((32, 48), 2)))
        put(root / f"{stem(area, kind, 'depth')}.png", encoded(STORED))
        put(root / f"{stem(area, kind, 'pose')}.json", json.dumps({"camera_k_matrix": K, "room": "hallway_1"}))
    return root


@pytest.mark.parametrize(
    ("split", "areas"),
    [
        ("train", ["area_1", "area_2", "area_3", "area_4", "area_6"]),
        ("test", ["area_5a", "area_5b"]),
        ("fold2-train", ["area_1", "area_3", "area_5a", "area_5b", "area_6"]),
        ("fold2-test", ["area_2", "area_4"]),
        ("fold3-train", ["area_2", "area_4", "area_5a", "area_5b"]),
        ("fold3-test", ["area_1", "area_3", "area_6"]),
        ("area_5b", ["area_5b"]),
    ],
)
def test_the_splits_are_the_published_folds(tmp_path: Path, split: str, areas: list[str]) -> None:
    images = Stanford2d3d(write(tmp_path), split)
    assert images.ids() == [f"{area}/data/camera_0a_hallway_1_frame_0" for area in areas]
    assert (images[0][1] == CLASS_NAMES.index("beam")).all()


def test_the_folds_hold_every_area_once() -> None:
    for train, test in (("train", "test"), ("fold2-train", "fold2-test"), ("fold3-train", "fold3-test")):
        assert sorted(FOLDS[train] + FOLDS[test]) == list("123456")


def test_areas_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    root = write(tmp_path, ("area_1", "area_4"))
    with pytest.raises(FileNotFoundError, match=r"expected area_2/data, area_3/data, area_6/data for the split train"):
        Stanford2d3d(root, "train")
    with pytest.raises(FileNotFoundError, match="expected area_1/pano for the split area_1"):
        Stanford2d3dPano(root, "area_1")
    (root / "semantic_labels.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"assets/semantic_labels\.json or semantic_labels\.json"):
        Stanford2d3d(root, "area_1")
    with pytest.raises(ValueError, match="must be train, test, fold2-train"):
        Stanford2d3d(root, "area_5")


def test_depth_is_in_512ths_of_a_metre_and_has_a_camera(tmp_path: Path) -> None:
    images = Stanford2d3d(write(tmp_path, ("area_3",)), "area_3")
    depth, camera = images.depth(0), images.camera(0)
    assert depth.dtype == np.float32 and depth[0, :3].tolist() == [0, 0, 1 / 512] and (depth[1:] == 2).all()
    assert camera is not None and (camera.fx, camera.cx, camera.cy) == (100, 23.5, 15.5)
    assert (camera.height, camera.width) == depth.shape == images[0][1].shape


def test_a_panorama_is_cut_to_the_rows_that_were_seen_and_is_no_pinhole(tmp_path: Path) -> None:
    images = Stanford2d3dPano(write(tmp_path, ("area_3",), "pano"), "area_3")
    image, label = images[0]
    np.testing.assert_array_equal(image, COLOR[5:27])
    assert label.shape == images.depth(0).shape == (22, 48) and images.camera(0) is None


@pytest.mark.parametrize(
    "pose", ["{", "[]", "{}", '{"camera_k_matrix": [1, 2]}', '{"camera_k_matrix": [[0,0,0],[0,0,0],[0,0,1]]}']
)
def test_a_pose_without_a_camera_is_named(tmp_path: Path, pose: str) -> None:
    root = write(tmp_path, ("area_3",))
    put(root / f"{stem('area_3', 'data', 'pose')}.json", pose)
    with pytest.raises(FrameError, match=r"_domain_pose\.json") as caught:
        Stanford2d3d(root, "area_3").camera(0)
    assert caught.value.reason == "intrinsics"


def test_depth_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, ("area_3",))
    (root / f"{stem('area_3', 'data', 'depth')}.png").unlink()
    with pytest.raises(FrameError, match=r"_domain_depth\.png: expected the frame's depth") as caught:
        Stanford2d3d(root, "area_3").depth(0)
    assert caught.value.reason == "missing"


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[1]", '["<UNK>_0", "lamp_1_office_1_1"]', "[" * 100_000])
def test_names_that_are_none_of_the_classes_are_refused(tmp_path: Path, text: str) -> None:
    path = put(tmp_path / "semantic_labels.json", text)
    with pytest.raises(ValueError, match=r"semantic_labels\.json: expected"):
        read_classes(path)


def test_the_class_is_the_first_word_of_a_name(tmp_path: Path) -> None:
    path = put(tmp_path / "semantic_labels.json", json.dumps(NAMES_2D3D))
    assert read_classes(path).tolist() == [255, 11, 0, 4, 11]
    assert list(CLASS_NAMES) == sorted(CLASS_NAMES) and len(CLASS_NAMES) == 13


def test_a_real_panorama_is_a_room_in_512ths_of_a_metre_with_65535_for_none(shared_data: Path, tmp_path: Path) -> None:
    """The sample's classes are numbered anew, as its colour and depth are cut: what it can tell is the depth."""
    path = shared_data / "pano_2d3ds" / "val001_depth.png"
    stored = decode_png16(path.read_bytes(), str(path))
    root = write(tmp_path, ("area_3",), "pano")
    put(root / f"{stem('area_3', 'pano', 'depth')}.png", path.read_bytes())
    depth = Stanford2d3dPano(root, "area_3").depth(0)
    whole = stored[110:594]
    np.testing.assert_array_equal(depth == 0, whole == 65535)
    assert 1 < np.median(depth[depth > 0]) < 3 and depth.max() < 40


def test_the_kit_holds_unknown_and_missing_pixels() -> None:
    assert {0, 0x0D0D0D} <= set(np.unique(KITS["2d3d views"].stored))
