"""Training batches whose order and contents are functions of (seed, step): the same with any number of workers."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fastseg.data.augment import AugmentConfig, augment
from fastseg.frames import LabelledImages
from fastseg.tensors import Tensor

IGNORE = 255
TIMEOUT_S = 120
Pair = tuple[Tensor, Tensor, str]


@dataclass(frozen=True)
class Batch:
    """images (N, 3, H, W) uint8, labels (N, H, W) uint8 or, of whole images, (N,) int64, and their ids."""

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    step: int
    epoch: int


@dataclass(frozen=True)
class Recipe:
    """All that decides which pixels step n sees, beside the images themselves."""

    size: tuple[int, int]
    batch: int
    seed: int
    augment: AugmentConfig

    def steps_per_epoch(self, images: int) -> int:
        """Whole batches in one pass over the images; what is left over waits for another epoch's order."""
        if images < self.batch:
            raise ValueError(f"a batch of {self.batch} needs at least as many labelled images; got {images}")
        return images // self.batch

    def chosen(self, images: int, step: int) -> list[tuple[int, int]]:
        """The (epoch, index) pairs of one step's batch; steps count from 0."""
        epoch, at = divmod(step, self.steps_per_epoch(images))
        return [
            (epoch, int(index)) for index in _order(self.seed, epoch, images)[at * self.batch : (at + 1) * self.batch]
        ]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> npt.NDArray[np.int64]:
    """The epoch's permutation of the images."""
    return np.random.default_rng((seed, epoch)).permutation(images)


def batches(
    examples: LabelledImages, recipe: Recipe, start: int, stop: int, workers: int = 0, *, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1.

    workers     processes that decode and augment; 0 = this one. They end with the iterator.
    rank, world rows rank * n .. (rank + 1) * n - 1 of every batch, n = recipe.batch / world: the ranks' rows one after
                the other are the batch of one process, whatever the world

    ValueError: fewer images than a batch, a batch that `world` does not divide, or an image that cannot be used, by
    its id.
    RuntimeError: a worker died, or gave nothing for two minutes.
    """
    import torch
    from torch.utils.data import DataLoader

    # The classes are plain Python: DataLoader asks a data set and a sampler for no more than these methods.
    share = _share(recipe.batch, rank, world)
    loader: DataLoader[list[Pair | Exception]] = DataLoader(
        _Pairs(examples, tuple(examples.ids()), recipe),  # type: ignore[arg-type]
        batch_sampler=_Steps(len(examples), recipe, start, stop, share),
        num_workers=workers,
        collate_fn=list,
        timeout=TIMEOUT_S if workers else 0,
        worker_init_fn=_own_signals,
        generator=torch.Generator(),
    )
    return _collected(loader, recipe.steps_per_epoch(len(examples)), start)


def _share(batch: int, rank: int, world: int) -> slice:
    """The rows of every batch that are this rank's."""
    if not 0 <= rank < world:
        raise ValueError(f"rank must lie between 0 and world - 1; got rank {rank} of {world}")
    if batch % world:
        raise ValueError(f"a batch of {batch} images cannot be shared evenly by {world} processes")
    rows = batch // world
    return slice(rank * rows, (rank + 1) * rows)


def _collected(loader: Iterable[list[Pair | Exception]], per_epoch: int, start: int) -> Iterator[Batch]:
    import torch

    for step, found in enumerate(loader, start):
        pairs = [pair for pair in found if not isinstance(pair, Exception)]
        for error in found:
            if isinstance(error, Exception):
                raise error
        images, labels, ids = zip(*pairs, strict=True)
        yield Batch(torch.stack(images), torch.stack(labels), ids, step, step // per_epoch)


@dataclass(frozen=True)
class _Steps:
    """DataLoader's batch sampler: which (epoch, index) pairs make this rank's share of each step."""

    images: int
    recipe: Recipe
    start: int
    stop: int
    share: slice

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.stop):
            yield self.recipe.chosen(self.images, step)[self.share]


@dataclass(frozen=True)
class _Pairs:
    """DataLoader's data set: (epoch, index) -> (image, label, id)."""

    examples: LabelledImages
    ids: tuple[str, ...]
    recipe: Recipe

    def __getitem__(self, key: tuple[int, int]) -> Pair | Exception:
        epoch, index = key
        recipe, name = self.recipe, self.ids[index]
        try:
            image, label = self.examples[index]
            check_classes(label, len(self.examples.class_names), name)
            changed = augment(image, label, recipe.size, recipe.augment, (recipe.seed, epoch, index))
        except (ValueError, OSError) as error:  # given back whole: DataLoader would wrap it in a worker's traceback
            return error if name in str(error) else ValueError(f"{name}: {error}")
        return *changed, name


def check_classes(label: npt.NDArray[np.unsignedinteger], classes: int, name: str) -> npt.NDArray[np.int64]:
    """Pixels of each class in a label, (classes,) int64; ValueError when it holds a class that does not exist."""
    pixels = np.bincount(label.ravel(), minlength=max(256, classes))
    beyond = np.flatnonzero(pixels[classes : IGNORE if label.ndim else None])  # a whole image is not left out
    if beyond.size:
        value = classes + int(beyond[0])
        raise ValueError(
            f"the label of {name!r} holds class {value}; there are {classes} classes (0 to {classes - 1}, 255 = ignore)"
        )
    return pixels[:classes].astype(np.int64)


def _own_signals(worker: int) -> None:
    """A worker dies when told to, and leaves the keyboard's interrupt to its parent."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
