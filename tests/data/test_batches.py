from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.data.augment import NOTHING, AugmentConfig
from fastseg.data.batches import Recipe, batches
from fastseg.frames import Camera

pytestmark = pytest.mark.torch

RECIPE = Recipe((16, 24), 2, 7, AugmentConfig())


class Noise:
    """Five random images of three classes; `broken` makes the last label hold class 9."""

    class_names = ("a", "b", "c")

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def ids(self) -> list[str]:
        return [f"noise/{index}" for index in range(5)]

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        random = np.random.default_rng(index)
        label = random.integers(0, 3, (20, 30), dtype=np.uint8)
        label[0, 0] = 9 if self.broken and index == 4 else 0
        return random.integers(0, 256, (20, 30, 3), dtype=np.uint8), label


def test_the_stream_is_the_same_with_0_and_2_workers_and_from_any_start() -> None:
    here = list(batches(Noise(), RECIPE, 0, 7))
    there = list(batches(Noise(), RECIPE, 0, 7, workers=2))
    later = list(batches(Noise(), RECIPE, 3, 7))
    for one, other in zip([*here, *here[3:]], [*there, *later], strict=True):
        assert one.ids == other.ids and one.step == other.step and one.epoch == other.epoch
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_ranks_share_every_batch_whatever_the_world(world: int) -> None:
    recipe = Recipe((16, 24), 4, 7, AugmentConfig())
    whole = list(batches(Noise(), recipe, 0, 3))
    ranks = [list(batches(Noise(), recipe, 0, 3, rank=rank, world=world)) for rank in range(world)]
    for batch, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        assert sum((part.ids for part in parts), ()) == batch.ids
        assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
        assert {(part.step, part.epoch) for part in parts} == {(batch.step, batch.epoch)}


@pytest.mark.parametrize(("rank", "world", "said"), [(0, 3, "by 3 processes"), (2, 2, "rank 2 of 2"), (-1, 1, "-1")])
def test_a_share_that_cannot_be_is_refused(rank: int, world: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        batches(Noise(), RECIPE, 0, 3, rank=rank, world=world)


def test_an_epoch_shows_no_image_twice_and_epochs_differ_in_order() -> None:
    stream = list(batches(Noise(), RECIPE, 0, 40))
    epochs = [[name for batch in stream if batch.epoch == epoch for name in batch.ids] for epoch in range(20)]
    assert all(len(set(names)) == 4 for names in epochs)
    assert len({tuple(names) for names in epochs}) > 10
    assert {name for names in epochs for name in names} == set(Noise().ids())


def test_fewer_images_than_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 6 needs at least as many labelled images; got 5"):
        next(batches(Noise(), Recipe((16, 24), 6, 0, AugmentConfig()), 0, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_label_beyond_the_classes_names_its_image(workers: int) -> None:
    with pytest.raises(ValueError, match="'noise/4' holds class 9; there are 3 classes"):
        list(batches(Noise(broken=True), RECIPE, 0, 8, workers))


class NoiseFrames(Noise):
    """The same with depth of as many metres as the index + 1; the camera of the last is not known."""

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        return np.full((20, 30), index + 1, np.float32)

    def camera(self, index: int) -> Camera | None:
        return Camera(25, 25, 14.5, 9.5, 20, 30) if index < 4 else None


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_carry_depth_and_camera_when_asked(workers: int) -> None:
    recipe = Recipe((40, 60), 2, 7, NOTHING, depth=True)
    for batch in batches(NoiseFrames(), recipe, 0, 6, workers):
        assert batch.depth is not None and batch.camera is not None
        assert batch.depth.shape == (2, 40, 60) and batch.depth.dtype == torch.float32
        for name, depth, camera in zip(batch.ids, batch.depth, batch.camera, strict=True):
            index = int(name.removeprefix("noise/"))
            assert bool((depth == index + 1).all())
            expected = [50, 50, 29.5, 19.5] if index < 4 else [np.nan] * 4
            np.testing.assert_allclose(camera.numpy(), expected)


def test_depth_that_nobody_asks_for_is_not_read() -> None:
    assert all(batch.depth is None and batch.camera is None for batch in batches(NoiseFrames(), RECIPE, 0, 2))


def test_depth_of_a_set_without_is_refused() -> None:
    with pytest.raises(ValueError, match="this data set has no depth"):
        batches(Noise(), Recipe((16, 24), 2, 7, NOTHING, depth=True), 0, 1)
