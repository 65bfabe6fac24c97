from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.replica import CAMERA, Replica, ReplicaLabels
from fastseg.frames import FrameError

CLASSES = (np.arange(340 * 600).reshape(340, 600) % 4).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    arrays = {"rgb": np.zeros((340, 600, 3), np.uint8), "depth": np.full((340, 600), 2000, np.uint16), "class": CLASSES}
    for folder, array in arrays.items():
        (tmp_path / folder).mkdir()
        for number in range(2):
            name = f"{number:04d}.{'jpg' if folder == 'rgb' else 'png'}"
            Image.fromarray(array).save(tmp_path / folder / name)
    (tmp_path / "classes.tsv").write_text("class_id\tname\n0\tunlabelled\n1\tbackpack\n2\trug\n3\twall\n")
    poses = [np.eye(4), np.eye(4)]
    poses[1][:3, 3] = 7
    np.savetxt(tmp_path / "poses_estimated.txt", np.reshape(poses, (2, 16)))
    return tmp_path


def test_a_frame_has_its_row_of_the_poses(root: Path) -> None:
    source = Replica(root)
    assert source.ids() == ["0000", "0001"]
    frame = source.load("0001")
    assert frame.camera == CAMERA and frame.depth_scale == 0.001
    assert frame.pose is not None and frame.pose[:3, 3].tolist() == [7, 7, 7]
    assert len(source.inputs("0001")) == 3


def test_a_frame_without_a_row_of_the_poses_is_rejected(root: Path) -> None:
    np.savetxt(root / "poses_estimated.txt", np.eye(4).reshape(1, 16))
    with pytest.raises(FrameError, match="row 0001") as caught:
        Replica(root).load("0001")
    assert caught.value.reason == "decode"


def test_unlabelled_is_ignored_and_classes_count_from_zero(root: Path) -> None:
    images = ReplicaLabels(root)
    assert images.class_names == ["backpack", "rug", "wall"] and len(images) == 2
    np.testing.assert_array_equal(images[0][1], np.where(CLASSES == 0, 255, CLASSES - 1))


def test_a_class_outside_the_table_is_rejected_naming_the_id(root: Path) -> None:
    (root / "classes.tsv").write_text("class_id\tname\n0\tunlabelled\n1\tbackpack\n")
    with pytest.raises(FrameError, match="'0000' has 3"):
        ReplicaLabels(root)[0]


def test_a_class_table_with_gaps_is_refused(root: Path) -> None:
    (root / "classes.tsv").write_text("class_id\tname\n0\tunlabelled\n2\trug\n")
    with pytest.raises(ValueError, match=r"classes\.tsv"):
        ReplicaLabels(root)


def test_the_office_has_81_frames(shared_data: Path) -> None:
    root = shared_data / "replica_office0"
    assert len(Replica(root).ids()) == len(ReplicaLabels(root)) == 81
    frame = Replica(root).load("0080")
    assert frame.depth.shape == (340, 600) and frame.pose is not None
    images = ReplicaLabels(root)
    assert images.class_names[97] == "rug" and images.camera(80) == frame.camera
    np.testing.assert_allclose(images.depth(80), frame.depth * np.float32(0.001))
