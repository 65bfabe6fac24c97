from __future__ import annotations

import copy
import io
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fastseg.data.images import decode_label
from fastseg.data.nyuv2 import CLASS_NAMES, CLASS_NAMES_13, FILE, TO_13, NyuFile, NyuFrames, NyuLabels
from fastseg.frames import FrameError

N, RAW = 4, ["book", "bottle", "cabinet", "wall unit", "x"]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 480, 640, 3)).astype(np.uint8)
DEPTHS = RNG.uniform(1, 3, (N, 480, 640)).astype(np.float32)
LABELS = RNG.integers(0, len(RAW) + 1, (N, 480, 640)).astype(np.uint16)
MAPPING = np.array([[23.0, 40, 3, 1, 40]])


def write_labelled(path: Path, labels: np.ndarray = LABELS) -> None:
    """As MATLAB 7.3 writes it: axes reversed, and the names a cell array of references to UTF-16 codes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = IMAGES.transpose(0, 3, 2, 1)
        file["depths"] = DEPTHS.transpose(0, 2, 1)
        file["labels"] = labels.transpose(0, 2, 1)
        names = file.create_dataset("names", (1, len(RAW)), h5py.ref_dtype)
        for k, name in enumerate(RAW):
            codes = file.create_dataset(f"#refs#/{k}", data=np.frombuffer(name.encode("utf-16-le"), np.uint16)[:, None])
            names[0, k] = codes.ref


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nyu")
    write_labelled(root / FILE)
    savemat(root / "splits.mat", {"trainNdxs": np.array([[1.0], [3.0]]), "testNdxs": np.array([[2.0], [4.0]])})
    savemat(root / "classMapping40.mat", {"mapClass": MAPPING})
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A folder of its own for each test that changes what lies beside the large file."""
    (tmp_path / FILE).hardlink_to(written / FILE)
    for name in ("splits.mat", "classMapping40.mat"):
        shutil.copy(written / name, tmp_path / name)
    return tmp_path


def colors(frame_image: bytes | None) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(frame_image or b"")))


def test_a_frame_is_the_stored_pixels_turned_upright(written: Path) -> None:
    source = NyuFrames(written, crop=False)
    assert source.ids() == [f"nyu_depth_v2_labeled/{k:04d}" for k in (1, 2, 3, 4)]
    frame = source.load("nyu_depth_v2_labeled/0003")
    np.testing.assert_array_equal(frame.depth, DEPTHS[2])
    np.testing.assert_array_equal(colors(frame.image), IMAGES[2])
    assert frame.depth_scale == 1.0 and (frame.camera.fx, frame.camera.cx) == (518.85790, 325.58245)
    assert source.inputs("nyu_depth_v2_labeled/0003") == [str(written / FILE)]


def test_the_crop_moves_the_camera_with_the_pixels(written: Path) -> None:
    frame = NyuFrames(written).load("nyu_depth_v2_labeled/0001")
    np.testing.assert_array_equal(frame.depth, DEPTHS[0, 45:470, 41:601])
    np.testing.assert_array_equal(colors(frame.image), IMAGES[0, 45:470, 41:601])
    camera = frame.camera
    assert (camera.height, camera.width) == (425, 560)
    assert (camera.cx, camera.cy) == pytest.approx((325.58245 - 41, 253.73617 - 45))


def test_labels_are_mapped_to_40_classes_and_unlabelled_is_ignored(written: Path) -> None:
    images = NyuLabels(written, "test", crop=False)
    assert images.ids() == ["nyu_depth_v2_labeled/0002", "nyu_depth_v2_labeled/0004"] and len(images) == 2
    image, label = images[1]
    np.testing.assert_array_equal(image, IMAGES[3])
    np.testing.assert_array_equal(label, np.array([255, 22, 39, 2, 0, 39], np.uint8)[LABELS[3]])
    assert len(CLASS_NAMES) == 40 and CLASS_NAMES[22] == "books"
    assert NyuLabels(written, "train")[0][1].shape == (425, 560)


def test_the_13_classes_are_unions_of_the_40(written: Path) -> None:
    images = NyuLabels(written, "test", crop=False, classes=13)
    assert [images.class_names[c] for c in (1, 6, 5, 11)] == ["books", "objects", "furniture", "wall"]
    np.testing.assert_array_equal(images[1][1], np.array([255, 1, 6, 5, 11, 6], np.uint8)[LABELS[3]])
    with pytest.raises(ValueError, match="must be 13 or 40; got 12"):
        NyuLabels(written, "test", classes=12)


def test_depth_and_camera_go_with_the_image(written: Path) -> None:
    for crop in (True, False):
        images, frames = NyuLabels(written, "test", crop), NyuFrames(written, "test", crop)
        frame = frames.load(images.ids()[1])
        np.testing.assert_array_equal(images.depth(1), frame.depth)
        assert images.depth(1).shape == images[1][1].shape and images.camera(1) == frame.camera


def test_the_13_classes_are_the_published_ones(shared_data: Path) -> None:
    root = shared_data / "nyu13_labels"
    names = [line.split()[1] for line in (root / "classes13.txt").read_text().splitlines() if line]
    assert list(CLASS_NAMES_13) == names
    assert [c + 1 for c in TO_13] == [int(field) for field in (root / "map40to13.txt").read_text().split()]
    found = {int(v) for path in sorted(root.glob("*.png"))[:20] for v in np.unique(decode_label(path))}
    assert found <= set(range(14)) and len(found) > 10


def test_the_40_classes_are_the_published_ones(shared_data: Path) -> None:
    lines = (shared_data / "nyu40_sample" / "classes40.txt").read_text().splitlines()
    names = [line.split(maxsplit=1)[1].replace(" ", "") for line in lines if line]
    names[23] = "refrigerator"  # spelt with a d in the release
    assert [name.replace(" ", "") for name in CLASS_NAMES] == names


def test_the_names_behind_references_are_read(written: Path) -> None:
    assert NyuFile(written).names() == RAW


def test_the_file_survives_a_fork_and_a_copy(written: Path) -> None:
    source = NyuFrames(written)
    before = source.load("nyu_depth_v2_labeled/0002").depth
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        same = np.array_equal(source.load("nyu_depth_v2_labeled/0002").depth, before)
        os.write(write, b"same" if same else b"other")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 5) == b"same"
    again = copy.deepcopy(source)
    np.testing.assert_array_equal(again.load("nyu_depth_v2_labeled/0002").depth, before)


def test_splits_may_be_text_files(root: Path) -> None:
    (root / "splits.mat").unlink()
    (root / "trainNdxs.txt").write_text("2\n1\n")
    assert NyuFrames(root, "train").ids() == ["nyu_depth_v2_labeled/0001", "nyu_depth_v2_labeled/0002"]
    with pytest.raises(FileNotFoundError, match=r"expected splits\.mat, or trainNdxs\.txt"):
        NyuFrames(root, "test")


@pytest.mark.parametrize("text", ["0\n1\n", "1\n5\n", "1\n1\n", "a\n", "nan\n", "1.5\n"])
def test_a_split_that_is_not_frame_numbers_is_refused(root: Path, text: str) -> None:
    (root / "splits.mat").unlink()
    (root / "trainNdxs.txt").write_text(text)
    with pytest.raises(ValueError, match=r"trainNdxs\.txt: expected trainNdxs"):
        NyuFrames(root, "train")


def test_a_missing_file_is_named_with_the_place_it_was_looked_for(root: Path, tmp_path: Path) -> None:
    (root / "classMapping40.mat").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/classMapping40\.mat"):
        NyuLabels(root, "train")
    (root / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/{FILE}"):
        NyuFrames(root)


@pytest.mark.parametrize("mapping", [MAPPING[:, :4], MAPPING * 10, MAPPING - 1, MAPPING + 0.5])
def test_a_mapping_of_other_classes_is_refused(root: Path, mapping: np.ndarray) -> None:
    savemat(root / "classMapping40.mat", {"mapClass": mapping})
    with pytest.raises(ValueError, match=r"classMapping40\.mat: expected mapClass of 5 numbers"):
        NyuLabels(root, "train")


@pytest.mark.parametrize("kept", [0, 100, 600, 5000])
def test_a_truncated_or_foreign_file_is_one_sentence(root: Path, written: Path, kept: int) -> None:
    (root / FILE).unlink()
    with (written / FILE).open("rb") as file:
        (root / FILE).write_bytes(file.read(kept))
    with pytest.raises(ValueError, match=FILE):
        NyuFrames(root)
    (root / "splits.mat").write_bytes(b"x" * kept)
    with pytest.raises(ValueError, match=FILE):
        NyuFrames(root, "train")


def test_a_corrupt_split_file_is_one_sentence(root: Path) -> None:
    (root / "splits.mat").write_bytes((root / "splits.mat").read_bytes()[:150])
    with pytest.raises(ValueError, match=r"splits\.mat"):
        NyuFrames(root, "train")


def test_an_id_of_another_split_is_missing(written: Path) -> None:
    for name in ("nyu_depth_v2_labeled/0002", "nyu_depth_v2_labeled/1", "0001", "nyu_depth_v2_labeled/²"):
        with pytest.raises(FrameError) as caught:
            NyuFrames(written, "train").load(name)
        assert caught.value.reason == "missing"


def test_a_label_outside_the_mapping_is_rejected_naming_the_id(tmp_path: Path, written: Path) -> None:
    write_labelled(tmp_path / FILE, LABELS + np.uint16(1))
    for name in ("splits.mat", "classMapping40.mat"):
        shutil.copy(written / name, tmp_path / name)
    with pytest.raises(FrameError, match="'nyu_depth_v2_labeled/0001' has 6"):
        NyuLabels(tmp_path, "train")[0]


def test_the_published_split_has_795_and_654_frames(shared_data: Path) -> None:
    sizes = {}
    for name in ("train", "test"):
        lines = (shared_data / "nyu_gravity" / f"{name}Ndxs.txt").read_text().split()
        sizes[name] = {int(line) for line in lines}
    assert (len(sizes["train"]), len(sizes["test"])) == (795, 654)
    assert sizes["train"] | sizes["test"] == set(range(1, 1450))
