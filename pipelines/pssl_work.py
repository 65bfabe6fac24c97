"""What a worker does with the pictures of a PSSL run: reads them one by one, explains them a few at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fastseg.classifiers import ClassifierAt, open_member
from fastseg.data.class_pictures import ClassPictures, Layout, Picture, decoded, open_pictures
from fastseg.data.images import Color
from fastseg.data.shards import Row
from fastseg.frames import FrameError
from fastseg.labels.pssl_config import PSSLConfig, packed
from pipelines.work import Clock

if TYPE_CHECKING:
    from fastseg.labels.pssl import Ensemble, PSSLLabel

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEPT = 2**25  # bytes; the largest threshold that glibc takes


@dataclass(frozen=True)
class Read:
    """A picture as `label` takes it: its id, its file, its class number, its pixels (S, S, 3) uint8."""

    id: str
    picture: Picture
    number: int
    pixels: Color


@lru_cache(maxsize=1)
def opened(layout: Layout, root: str) -> ClassPictures:
    """The pictures, listed once in each process."""
    return open_pictures(layout, root)


@lru_cache(maxsize=1)
def loaded(models: tuple[ClassifierAt, ...], classes: tuple[str, ...], pssl: PSSLConfig, device: str) -> Ensemble:
    """The classifiers, opened once in each process; on a processor they use one thread."""
    import torch

    from fastseg.labels.pssl import Ensemble

    if device == "cpu":
        torch.set_num_threads(1)
        _keep_memory()
    return Ensemble([open_member(model, classes) for model in models], pssl, device)


def _keep_memory() -> None:
    """Ask the C library to keep what is freed: fresh pages for every map of a network cost a fifth of a pass."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@dataclass(frozen=True)
class ReadPictures:
    """Reads pictures, `side` pixels a side, without the networks: in the worker or in tasks ahead of it."""

    layout: Layout
    root: str
    classes: tuple[str, ...]
    side: int

    def read(self, picture_id: str, clock: Clock) -> Read:
        """The picture, decoded; FrameError when it cannot be used, `class` when its class is none of the list."""
        with clock("read"):
            picture = opened(self.layout, self.root).load(picture_id)
            return Read(picture_id, picture, self._number(picture), decoded(picture, self.side))

    def _number(self, picture: Picture) -> int:
        if isinstance(picture.of, int):
            if not 0 <= picture.of < len(self.classes):
                limits = f"must lie in 0..{len(self.classes) - 1}"
                raise FrameError("class", f"{picture.name}: its class {limits}; got {picture.of}", picture.of)
            return picture.of
        try:
            return self.classes.index(picture.of)
        except ValueError:
            raise FrameError("class", f"{picture.name}: {picture.of!r} is none of the classes") from None


@dataclass(frozen=True)
class LabelPictures:
    """The work (`pipelines.work.BatchWork`) of a PSSL run.

    batch      pictures labelled at a time
    num_gpus   the share of a GPU that a worker owns
    readers    shards that tasks read ahead of each worker; 0 = it reads them itself
    """

    layout: Layout
    root: str
    models: tuple[ClassifierAt, ...]
    classes: tuple[str, ...]
    pssl: PSSLConfig
    device: str = "cpu"
    keep_images: bool = True
    batch: int = 8
    num_gpus: float = 0.0
    readers: int = 0

    keeps_state: ClassVar[bool] = True  # the networks

    def problem(self) -> str | None:
        """Why this process cannot do the work, or None; asked in a worker before the first shard."""
        if self.device == "cuda":
            import torch

            if not torch.cuda.is_available():
                return "--device cuda finds no GPU that torch can use; --device cpu labels on the processor"
        try:
            self.ensemble()
        except (ValueError, OSError, ImportError, MemoryError) as error:
            return str(error)
        return None

    def reader(self) -> ReadPictures:
        """What reads this work's pictures; the networks say how large."""
        return ReadPictures(self.layout, self.root, self.classes, self.ensemble().image_size)

    def read(self, picture_id: str, clock: Clock) -> Read:
        """The picture, see `ReadPictures.read`."""
        return self.reader().read(picture_id, clock)

    def label(self, read: Sequence[Read], clock: Clock) -> list[Row | FrameError]:
        """The row of `shards.PSSL_SCHEMA` or the rejection of each picture, in order."""
        ensemble = self.ensemble()
        with clock("label"):
            pixels = np.stack([each.pixels for each in read])
            made = ensemble.label(pixels, [each.number for each in read], [each.id for each in read])
        return [one if isinstance(one, FrameError) else self.row(own, one) for own, one in zip(read, made, strict=True)]

    def ensemble(self) -> Ensemble:
        """The networks of this process."""
        return loaded(self.models, self.classes, self.pssl, self.device)

    def row(self, read: Read, made: PSSLLabel) -> Row:
        """The row of `shards.PSSL_SCHEMA` of a picture and its label."""
        return {
            "id": read.id,
            "image": read.picture.data if self.keep_images else None,
            "class": read.number,
            "deciles": packed(made.deciles),
            "height": made.deciles.shape[0],
            "width": made.deciles.shape[1],
            "samples": made.samples,
            "changed": made.changed,
            "probability": made.probability,
            "right": made.right,
        }
