"""Training batches whose order and contents are functions of (seed, step): the same with any number of workers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from ctypes import Array, c_longlong
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.sharedctypes import RawArray
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from fastseg.data.augment import AugmentConfig, Augmented, augment, augment_clip
from fastseg.data.workers import own_signals, watched
from fastseg.frames import Clips, LabelledFrames, LabelledImages
from fastseg.tensors import Tensor

IGNORE = 255
TIMEOUT_S = 120.0


class Scene(NamedTuple):
    """What a batch knows beside its labels, or a part of it; None = the recipe does not ask for it.

    images      (N, 3, H, W) uint8, as they are before any normalisation
    depth       (N, H, W) float32 metres, 0 = no measurement
    camera      (N, 4) float64 fx, fy, cx, cy of each image as it is here, NaN where it is not known
    sources     (N, S, 3, H, W) uint8, of clips: frames that see the same scene from elsewhere
    poses       (N, S, 4, 4) float32 T_source_target, of clips whose poses are known
    extent      (N, 2) float64 pixels of each image that its picture's whole width and height take, of clips; the width
                negative where the image is mirrored
    """

    images: Tensor
    depth: Tensor | None = None
    camera: Tensor | None = None
    sources: Tensor | None = None
    poses: Tensor | None = None
    extent: Tensor | None = None

    def parts(self, count: int, device: Any) -> list[Scene]:
        """The scene in `count` parts, one after the other, on a device."""
        cut = [
            [None] * count if each is None else each.to(device, non_blocking=True).tensor_split(count) for each in self
        ]
        return [Scene(*part) for part in zip(*cut, strict=True)]


@dataclass(frozen=True)
class Batch:
    """images (N, 3, H, W) uint8, labels (N, H, W) uint8 or, of whole images, (N,) int64, and their ids.

    depth, camera, sources, poses, extent   as in `Scene`
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    step: int
    epoch: int
    depth: Tensor | None = None
    camera: Tensor | None = None
    sources: Tensor | None = None
    poses: Tensor | None = None
    extent: Tensor | None = None

    @property
    def scene(self) -> Scene:
        """What is known beside the labels."""
        return Scene(self.images, self.depth, self.camera, self.sources, self.poses, self.extent)


@dataclass(frozen=True)
class Recipe:
    """All that decides which pixels step n sees, beside the images themselves.

    depth       asks for depth and camera
    clips       asks a set of clips for sources: `pairs` for no more, `frames` for the camera, `posed` for poses as well
    """

    size: tuple[int, int]
    batch: int
    seed: int
    augment: AugmentConfig
    depth: bool = False
    clips: Literal["none", "pairs", "frames", "posed"] = "none"

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
    examples: LabelledImages,
    recipe: Recipe,
    start: int,
    stop: int,
    workers: int = 0,
    *,
    rank: int = 0,
    world: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1.

    workers     processes that decode and augment; 0 = this one. They end with the iterator.
    rank, world rows rank * n .. (rank + 1) * n - 1 of every batch, n = recipe.batch / world: the ranks' rows one after
                the other are the batch of one process, whatever the world
    timeout_s   the longest wait for the workers

    ValueError: fewer images than a batch, a batch that `world` does not divide, depth of a set that has none, or an
    image that cannot be used, by its id. ChildProcessError, TimeoutError: a worker died, or hangs (`watched`).
    """
    import torch
    import torchvision.transforms.v2  # noqa: F401 - here, so that each forked worker need not load it again
    from torch.utils.data import DataLoader

    if recipe.depth and not (hasattr(examples, "depth") and hasattr(examples, "camera")):
        raise ValueError("depth is asked for, but this data set has no depth beside its labelled images")
    if recipe.clips != "none" and not hasattr(examples, "clip"):
        raise ValueError("clips are asked for, but this data set is not one of video or stereo")
    ids, share = tuple(examples.ids()), _share(recipe.batch, rank, world)
    read = _Examples(examples, ids, recipe, RawArray(c_longlong, max(workers, 1)))
    # The classes are plain Python: DataLoader asks a data set and a sampler for no more than these methods.
    loader: DataLoader[_Rows | Exception] = DataLoader(
        read,  # type: ignore[arg-type]
        batch_sampler=_Steps(len(ids), recipe, start, stop, share),
        num_workers=workers,
        collate_fn=_stacked,
        timeout=timeout_s if workers else 0,
        worker_init_fn=own_signals,
        generator=torch.Generator(),
    )
    return _collected(watched(loader, read.named, timeout_s), start, recipe.steps_per_epoch(len(ids)))


def _share(batch: int, rank: int, world: int) -> slice:
    """The rows of every batch that are this rank's."""
    if not 0 <= rank < world:
        raise ValueError(f"rank must lie between 0 and world - 1; got rank {rank} of {world}")
    if batch % world:
        raise ValueError(f"a batch of {batch} images cannot be shared evenly by {world} processes")
    rows = batch // world
    return slice(rank * rows, (rank + 1) * rows)


@dataclass(frozen=True)
class _Steps(Sequence[list[tuple[int, int]]]):
    """DataLoader's batch sampler: which (epoch, index) pairs make this rank's share of each step."""

    images: int
    recipe: Recipe
    start: int
    stop: int
    share: slice

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, at: int) -> list[tuple[int, int]]:  # type: ignore[override]
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self.recipe.chosen(self.images, self.start + at)[self.share]


class _Rows(NamedTuple):
    """What a worker gives back for one step."""

    images: Tensor
    labels: Tensor
    depth: Tensor | None
    camera: Tensor | None
    sources: Tensor | None
    poses: Tensor | None
    extent: Tensor | None
    ids: tuple[str, ...]


def _collected(read: Generator[_Rows | Exception, None, None], start: int, per_epoch: int) -> Iterator[Batch]:
    with closing(read):
        for step, found in enumerate(read, start):
            if isinstance(found, Exception):
                raise found
            images, labels, *scene, ids = found
            yield Batch(images, labels, ids, step, step // per_epoch, *scene)


def _stacked(found: list[tuple[Augmented, str] | Exception]) -> _Rows | Exception:
    """One tensor of each kind, made where they were read: few pieces cross between processes."""
    import torch

    for each in found:
        if isinstance(each, Exception):
            return each
    examples, ids = zip(*cast("list[tuple[Augmented, str]]", found), strict=True)
    images, labels, depth, cameras, sources, poses, extents = zip(*examples, strict=True)
    if len({len(each) for each in sources if each is not None}) > 1:
        return ValueError(f"all clips must have the same number of source frames; not so {', '.join(ids)}")
    unknown = torch.full((4,), float("nan"), dtype=torch.float64)
    asked = depth[0] is not None or sources[0] is not None
    camera = torch.stack([unknown if each is None else each for each in cameras]) if asked else None
    metres, seen, moved, extent = (
        None if each[0] is None else torch.stack(each) for each in (depth, sources, poses, extents)
    )
    return _Rows(torch.stack(images), torch.stack(labels), metres, camera, seen, moved, extent, ids)


@dataclass(frozen=True)
class _Examples:
    """DataLoader's data set: (epoch, index) -> the augmented example and its id.

    reading     shared by all processes: 1 + the index that worker 0, 1, ... is at, 0 = none
    """

    examples: LabelledImages
    ids: tuple[str, ...]
    recipe: Recipe
    reading: Array[c_longlong]

    def named(self, worker: int) -> str:
        """The id of what the worker is reading, "" when nothing."""
        return self.ids[self.reading[worker] - 1] if self.reading[worker] else ""

    def __getitem__(self, key: tuple[int, int]) -> tuple[Augmented, str] | Exception:
        from torch.utils.data import get_worker_info

        info = get_worker_info()
        worker = info.id if info is not None else 0
        self.reading[worker] = 1 + key[1]
        example = self._example(*key)
        self.reading[worker] = 0
        return example

    def _example(self, epoch: int, index: int) -> tuple[Augmented, str] | Exception:
        name = self.ids[index]
        try:
            return self._changed((self.recipe.seed, epoch, index)), name
        except (ValueError, OSError) as error:  # given back whole: DataLoader would wrap it in a worker's traceback
            return error if name in str(error) else ValueError(f"{name}: {error}")
        except Exception as error:
            error.add_note(f"while reading image {name}")
            raise

    def _changed(self, key: tuple[int, int, int]) -> Augmented:
        recipe, index = self.recipe, key[2]
        if recipe.clips != "none":
            image, sources, seen, poses = cast(Clips, self.examples).clip(index)
            if seen is None and recipe.clips != "pairs":
                raise ValueError("its camera's intrinsics are not known, and this supervision needs them")
            if recipe.clips == "posed" and poses is None:
                raise ValueError("the poses of its source frames are not known, and this supervision needs them")
            kept = poses if recipe.clips == "posed" else None
            return augment_clip(image, sources, seen, kept, recipe.size, recipe.augment, key)
        image, label = self.examples[index]
        check_classes(label, len(self.examples.class_names), self.ids[index])
        depth = camera = None
        if recipe.depth:
            frames = cast(LabelledFrames, self.examples)
            depth, camera = frames.depth(index), frames.camera(index)
        return augment(image, label, recipe.size, recipe.augment, key, depth, camera)


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
