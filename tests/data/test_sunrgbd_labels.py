from __future__ import annotations

import io
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from labelled_kits import KITS, drawn, mapped
from recorded import encoded, put, room_frames
from scipy.io import savemat
from test_sunrgbd import write as write_frame

from fastseg.data.sunrgbd import SunRgbd
from fastseg.data.sunrgbd_labels import (
    CLASS_NAMES,
    FRAMES_FILE,
    LABELS_FILE,
    SPLIT_FILE,
    SunNumbered,
    SunReleased,
    frame_of,
    numbered,
    sunrgbd_labels,
)
from fastseg.frames import FrameError

FOLDERS = ("kv1/NYUdata/NYU0001", "kv2/kinect2data/000002_rgbf000103-resize", "xtion/sun3ddata/home_at/0000001")
AUTHORS = "/n/fs/sun3d/data/SUNRGBD/"
SHAPE = room_frames()[0].depth.shape
LABELS = [np.resize(drawn(range(k, 38)), SHAPE).astype(np.uint8) for k in (0, 1, 2)]


def cells(texts: list[str]) -> np.ndarray:
    found = np.empty((1, len(texts)), object)
    found[0] = texts
    return found


def matlab(**values: object) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, values, do_compression=True)
    return buffer.getvalue()


def frames_file(folders: tuple[str, ...] = FOLDERS) -> bytes:
    kinds = [("sequenceName", object), ("groundtruth3DBB", object), ("rgbpath", object), ("rgbname", object)]
    frames = np.empty((1, len(folders)), kinds)
    for k, folder in enumerate(folders):
        frames[0, k] = (f"SUNRGBD/{folder}", np.zeros((1, 0)), f"{AUTHORS}{folder}/image/x.jpg", "x.jpg")
    return matlab(SUNRGBDMeta=frames)


def write_labels(path: Path, labels: list[np.ndarray] = LABELS) -> None:
    """As MATLAB 7.3 writes a struct array: one dataset of references for each field, arrays transposed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for field in ("seglabel", "seglabelall"):
            refs = file.create_dataset(f"SUNRGBD2Dseg/{field}", (len(labels), 1), h5py.ref_dtype)
            for k, label in enumerate(labels):
                refs[k, 0] = file.create_dataset(f"#refs#/{field}{k}", data=label.T, compression="gzip").ref


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sun")
    for folder in FOLDERS:
        write_frame(root / "SUNRGBD", room_frames()[0], folder)
    train, test = [f"{AUTHORS}{FOLDERS[2]}/", AUTHORS + FOLDERS[0]], [AUTHORS + FOLDERS[1]]
    put(root / SPLIT_FILE, matlab(alltrain=cells(train), alltest=cells(test), trainvalsplit=np.zeros(1)))
    put(root / FRAMES_FILE, frames_file())
    write_labels(root / LABELS_FILE)
    return root


def test_the_release_gives_each_frame_its_own_label_by_the_order_of_its_list(released: Path) -> None:
    train, test = SunReleased(released, "train"), SunReleased(released, "test")
    assert train.ids() == [f"SUNRGBD/{FOLDERS[0]}", f"SUNRGBD/{FOLDERS[2]}"]
    assert test.ids() == [f"SUNRGBD/{FOLDERS[1]}"] and len(CLASS_NAMES) == 37
    classes = {value: value - 1 for value in range(1, 38)}
    for images, index, k in ((train, 0, 0), (train, 1, 2), (test, 0, 1)):
        image, label = images[index]
        assert image.shape == (*SHAPE, 3)
        np.testing.assert_array_equal(label, mapped(LABELS[k], classes))


def test_depth_and_camera_are_those_of_the_reader_in_another_process_too(released: Path) -> None:
    images = pickle.loads(pickle.dumps(SunReleased(released, "test")))
    frame = SunRgbd(released).load(f"SUNRGBD/{FOLDERS[1]}")
    np.testing.assert_allclose(images.depth(0), frame.depth * np.float32(0.001))
    assert images.camera(0) == frame.camera and images[0][1].shape == SHAPE


def copied(released: Path, root: Path, **other: bytes) -> Path:
    """The released set with some of its three files changed."""
    for key, name in (("split", SPLIT_FILE), ("frames", FRAMES_FILE), ("labels", LABELS_FILE)):
        put(root / name, other.get(key, (released / name).read_bytes()))
    return root


@pytest.mark.parametrize("name", [SPLIT_FILE, FRAMES_FILE, LABELS_FILE])
def test_each_file_of_the_release_that_is_missing_or_cut_is_named(released: Path, tmp_path: Path, name: str) -> None:
    root = copied(released, tmp_path)
    data = (root / name).read_bytes()
    for kept in (0, 100, 160):
        put(root / name, data[:kept])
        with pytest.raises(ValueError, match=rf"{Path(name).name}: expected"):
            sunrgbd_labels(root, "train")
    (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"expected the file \(or train37\.txt, .*\) at {name}"):
        sunrgbd_labels(root, "train")


def test_a_frame_of_the_split_that_the_list_of_frames_lacks_is_named(released: Path, tmp_path: Path) -> None:
    root = copied(released, tmp_path, split=matlab(alltrain=cells([AUTHORS + "kv1/x"]), alltest=cells([])))
    with pytest.raises(ValueError, match=r"SUNRGBDMeta\.mat: expected the frames of .*; SUNRGBD/kv1/x is not"):
        SunReleased(root, "train")


@pytest.mark.parametrize(
    "values",
    [
        {"alltrain": np.zeros((1, 3))}, {"alltrain": "text"}, {"other": cells(["a"])},
        {"alltrain": np.array([[np.zeros(3), "a"]], object)},
    ],
)  # fmt: skip
def test_a_split_that_is_no_list_of_paths_is_refused(released: Path, tmp_path: Path, values: dict[str, object]) -> None:
    root = copied(released, tmp_path, split=matlab(**values))
    with pytest.raises(ValueError, match=r"allsplit\.mat: expected .*alltrain"):
        SunReleased(root, "train")


def test_a_list_of_frames_without_their_paths_is_refused(released: Path, tmp_path: Path) -> None:
    frames = np.zeros((1, 2), [("sequenceName", object)])
    root = copied(released, tmp_path, frames=matlab(SUNRGBDMeta=frames))
    with pytest.raises(ValueError, match="expected SUNRGBDMeta with the field rgbpath"):
        SunReleased(root, "train")


def test_as_many_labels_as_frames_are_wanted(released: Path, tmp_path: Path) -> None:
    root = copied(released, tmp_path, frames=frames_file(FOLDERS[:2]))
    with pytest.raises(ValueError, match=r"SUNRGBD2Dseg\.mat: expected seglabel of 2 frames"):
        SunReleased(root, "test")


@pytest.mark.parametrize(
    ("label", "reason"), [(np.full(SHAPE, 38), "type"), (np.zeros((4, 4)), "size"), (np.full(SHAPE, 0.5), "type")]
)
def test_a_label_that_cannot_be_is_named(released: Path, tmp_path: Path, label: np.ndarray, reason: str) -> None:
    root = copied(released, tmp_path)
    write_frame(root / "SUNRGBD", room_frames()[0], FOLDERS[1])
    write_labels(root / LABELS_FILE, [LABELS[0], label, LABELS[2]])
    with pytest.raises(FrameError, match="seglabel 2") as caught:
        SunReleased(root, "test")[0]
    assert caught.value.reason == reason


def test_labels_in_another_file_are_refused(released: Path, tmp_path: Path) -> None:
    root = copied(released, tmp_path)
    (root / LABELS_FILE).unlink()
    with h5py.File(root / LABELS_FILE, "w") as file:
        file["SUNRGBD2Dseg"] = h5py.ExternalLink(str(released / LABELS_FILE), "SUNRGBD2Dseg")
    with pytest.raises(ValueError, match="expected SUNRGBD2Dseg, a struct with seglabel, in this file"):
        SunReleased(root, "train")


def test_numbered_labels_begin_with_those_of_test(tmp_path: Path) -> None:
    root = KITS["sunrgbd numbered"].write(tmp_path)
    put(root / "SUNRGBD-test_images/img-000001.jpg", (root / "SUNRGBD-train_images/img-000001.jpg").read_bytes())
    put(root / "sunrgbd_train_test_labels/img-000001.png", encoded(np.full((32, 48), 37, np.uint8)))
    assert (SunNumbered(root, "test")[0][1] == 36).all()
    np.testing.assert_array_equal(SunNumbered(root, "train")[0][1], KITS["sunrgbd numbered"].wanted)
    assert [numbered(name) for name in ("img-000001", "x/img13labels-005051", "7")] == [1, 5051, 7]
    with pytest.raises(ValueError, match="expected names that end in a number"):
        numbered("img-12b")


def test_a_path_of_the_authors_machine_becomes_a_folder_below_the_root() -> None:
    assert frame_of(f"{AUTHORS}kv1//b3dodata/img_0063/") == "SUNRGBD/kv1/b3dodata/img_0063"


def test_a_list_cannot_lead_out_of_the_set(tmp_path: Path) -> None:
    root = KITS["sunrgbd listed"].write(tmp_path / "set")
    put(tmp_path / "other.png", encoded(np.zeros((32, 48), np.uint8)))
    put(root / "train37.txt", "image/train/img-000001.jpg d ../other.png\n")
    with pytest.raises(FrameError, match="no frame id"):
        sunrgbd_labels(root, "train")
    put(root / "train37.txt", "image/train/img-000001.jpg\n")
    with pytest.raises(ValueError, match=r"train37\.txt: expected lines `image depth label`"):
        sunrgbd_labels(root, "train")
