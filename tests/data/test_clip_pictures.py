from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clip_kits import walk

from fastseg.data.clip_pictures import check_order, motion, reduced, tile_shifts
from fastseg.data.images import decode_color


def textured(shift: int = 0, width: int = 512) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (20, 60, 3))
    large = np.kron(small, np.ones((16, 16, 1))).astype(np.uint8)
    for _ in range(3):  # blocks with soft edges
        large = np.mean([np.roll(large, s, axis) for s in (-4, 0, 4) for axis in (0, 1)], axis=0)
    return large[:256, 100 + shift : 100 + shift + width].astype(np.uint8)


@pytest.mark.parametrize("shift", [2, 4, 8])
def test_motion_is_the_share_of_the_width_that_a_picture_moved_by(shift: int) -> None:
    # over all directions of edges the mean of |flow . grad I| / |grad I| is 2 / pi of the flow
    assert 0.4 * shift / 512 < motion(textured(), textured(shift)) < 1.1 * shift / 512


def test_a_camera_that_stands_still_has_no_motion_whatever_its_noise_or_exposure() -> None:
    picture = textured()
    noisy = np.clip(picture + np.random.default_rng(1).normal(0, 5, picture.shape), 0, 255).astype(np.uint8)
    brighter = np.clip(picture.astype(int) + 9, 0, 255).astype(np.uint8)
    assert motion(picture, picture) == 0 and motion(picture, noisy) < 5e-4 and motion(picture, brighter) < 5e-4
    assert motion(np.full_like(picture, 7), picture) == 0 and motion(picture[:1, :1], picture[:1, :1]) == 0


def test_pictures_are_compared_at_some_128_columns() -> None:
    assert reduced(np.zeros((375, 1242, 3), np.uint8)).shape == (41, 138)
    assert reduced(np.zeros((3, 1242, 3), np.uint8)).shape == (1, 414)
    assert reduced(np.full((4, 6, 3), 9, np.uint8)).tolist() == np.full((4, 6), 9.0).tolist()


def test_a_rooms_pair_is_in_order_and_its_exchange_is_not() -> None:
    frames = walk()
    left, right = frames.left[0].color, frames.right[0].color
    assert (tile_shifts(reduced(left), reduced(right)) > 0).mean() > 0.8
    check_order(left, right, "pair")
    with pytest.raises(
        ValueError, match=r"pair: .*they seem swapped, for the disparity is negative \(about -\d+ pixels"
    ):
        check_order(right, left, "pair")


def test_what_says_nothing_is_no_swapped_pair() -> None:
    flat = np.full((64, 256, 3), 90, np.uint8)
    check_order(flat, flat, "pair")
    check_order(flat[:8, :8], flat[:8, :8], "pair")
    check_order(textured(), textured(), "pair")


def test_real_driving_moves_and_real_pairs_are_in_order(shared_data: Path) -> None:
    def read(name: str) -> np.ndarray:
        return decode_color((shared_data / name).read_bytes(), name)

    steps = [motion(*(read(f"kitti00_a/rgb/{k + d:06d}.jpg") for d in (0, 1))) for k in range(0, 390, 30)]
    assert min(steps) > 0.004
    motorcycle = ("stereo_motorcycle/motorcycle_left.png", "stereo_motorcycle/motorcycle_right.png")
    for left, right in (("kitti06/image_0/000012.png", "kitti06/image_1/000012.png"), motorcycle):
        check_order(read(left), read(right), left)
        with pytest.raises(ValueError, match="seem swapped"):
            check_order(read(right), read(left), right)
