from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.measured import WITH_DEPTH, open_measured

SIZE = (40, 60)  # height, width


def _picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(path)


def test_kittis_selection_is_scored_where_the_lidar_measured(tmp_path: Path) -> None:
    stored = np.zeros(SIZE, np.uint16)
    stored[20:, ::4] = 256 * 12
    for folder in ("groundtruth_depth", "intrinsics"):
        (tmp_path / folder).mkdir()
    Image.fromarray(stored).save(tmp_path / "groundtruth_depth" / "a_groundtruth_depth_1.png")
    _picture(tmp_path / "image" / "a_image_1.png")
    (tmp_path / "intrinsics" / "a_image_1.txt").write_text("50 0 29.5 0 50 19.5 0 0 1\n")
    found = open_measured("kitti", tmp_path)
    assert found.ids() == ["groundtruth_depth/a_groundtruth_depth_1"]
    image, label = found[0]
    assert image.shape == (*SIZE, 3) and np.array_equal(found.depth(0), np.where(stored > 0, np.float32(12), 0))
    assert np.array_equal(label == 0, stored > 0)


def test_pairs_are_scored_by_their_disparity(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (SIZE[0], SIZE[1] + 8, 3), dtype=np.uint8)
    for side, first in (("left", 0), ("right", 5)):
        (tmp_path / side).mkdir()
        Image.fromarray(noise[:, first : first + SIZE[1]]).save(tmp_path / side / "a.png")
    (tmp_path / "disparity").mkdir()
    np.save(tmp_path / "disparity" / "a.npy", np.full(SIZE, 5, np.float32))
    camera = {"fx": 50, "fy": 50, "cx": 29.5, "cy": 19.5, "width": SIZE[1], "height": SIZE[0], "baseline": 0.5}
    (tmp_path / "stereo.json").write_text(json.dumps(camera))
    assert np.allclose(open_measured("stereo", tmp_path).depth(0), 50 * 0.5 / 5)


def test_what_has_no_depth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stereo with depth have no splits; got --split val"):
        open_measured("stereo", tmp_path, "val")
    with pytest.raises(ValueError, match="reader kitti takes no split; got val"):
        open_measured("kitti", tmp_path, "val")
    assert {"kitti", "nyuv2", "tum", "rooms", "stereo"} <= set(WITH_DEPTH)
