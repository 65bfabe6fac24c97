"""What `fastseg predict` sees in an image and leaves on disk: classes, or depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastseg.checkpoint import Checkpoint
from fastseg.inference import Views
from fastseg.pictures import Picture, class_palette, depth_picture, label_picture, overlay

DepthFile = Literal["png", "npy"]
Seen = npt.NDArray[Any]
FARTHEST_MM = 65_535


class Asked(Protocol):
    """The options of `fastseg predict` that a look depends on."""

    @property
    def size(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def views(self) -> Views: ...
    @property
    def depth(self) -> DepthFile: ...


class Look(Protocol):
    """A network's view of an image (H, W, 3) uint8.

    kind    of the pictures painted, before their ending
    done    what was done with the images, before the name of the folder
    """

    kind: ClassVar[str]
    done: ClassVar[str]

    def begin(self, out: Path) -> None:
        """What is written once."""
        ...

    def see(self, image: Picture) -> Seen:
        """What the network predicts, (H, W)."""
        ...

    def save(self, stem: Path, seen: Seen) -> None:
        """Written beside `stem`."""
        ...

    def painted(self, image: Picture, seen: Seen) -> Picture:
        """A picture of it."""
        ...


class ClassLook:
    """Classes (H, W) uint8: palette PNGs whose indices they are, and colours over the grey of the image."""

    kind: ClassVar[str] = "overlay"
    done: ClassVar[str] = "segmented into"

    def __init__(self, asked: Asked, found: Checkpoint) -> None:
        from fastseg.inference import check_labels_pixels, check_reads_images

        check_labels_pixels(found)
        check_reads_images(found)
        if asked.depth != "png":
            raise ValueError(f"--depth is for networks that predict depth; {found.path} labels pixels")
        self._asked, self._record = asked, found.record
        self._net, self._size = _opened(asked, found)
        self._palette = class_palette(len(found.record.classes))

    def begin(self, out: Path) -> None:
        (out / "classes.txt").write_text("".join(f"{name}\n" for name in self._record.classes))

    def see(self, image: Picture) -> Seen:
        from fastseg.data.augment import resized
        from fastseg.inference import predictions

        look, shape = [resized(image, self._size)], [image.shape[:2]]
        (classes,) = predictions(self._net, look, shape, self._record.normalisation, self._asked.views)
        return np.asarray(classes.cpu().numpy().astype(np.uint8))  # 256 classes do not occur here

    def save(self, stem: Path, seen: Seen) -> None:
        picture = Image.fromarray(seen)
        picture.putpalette(self._palette.tobytes())
        picture.save(stem.with_name(f"{stem.name}.png"))

    def painted(self, image: Picture, seen: Seen) -> Picture:
        return overlay(image, label_picture(seen, self._palette))


class DepthLook:
    """Depth (H, W) float32 metres: 16-bit PNGs in millimetres or .npy files, and colours, near light and far dark."""

    kind: ClassVar[str] = "depth"
    done: ClassVar[str] = "measured into"

    def __init__(self, asked: Asked, found: Checkpoint) -> None:
        from fastseg.inference_depth import check_views, depth_alone, depth_limits

        check_views(asked.views, found)
        self._asked, self._record, self._limits = asked, found.record, depth_limits(found)
        self._net, self._size = _opened(asked, depth_alone(found))

    def begin(self, out: Path) -> None:
        """Nothing: depth needs no key."""

    def see(self, image: Picture) -> Seen:
        from fastseg.data.augment import resized
        from fastseg.inference_depth import depths

        look, shape, mean = [resized(image, self._size)], [image.shape[:2]], self._record.normalisation
        (depth,) = depths(self._net, look, shape, mean, self._limits, self._asked.views.flip)
        return np.asarray(depth.cpu().numpy())

    def save(self, stem: Path, seen: Seen) -> None:
        if self._asked.depth == "npy":
            np.save(stem.with_name(f"{stem.name}.npy"), seen)
        else:
            Image.fromarray(millimetres(seen)).save(stem.with_name(f"{stem.name}.png"))

    def painted(self, image: Picture, seen: Seen) -> Picture:
        return depth_picture(seen)


def millimetres(depth: Seen) -> npt.NDArray[np.uint16]:
    """Depth (H, W) uint16 millimetres of metres; 0, no measurement, where that is beyond 65,535."""
    found = np.rint(depth.astype(np.float64) * 1000)
    return np.where(found <= FARTHEST_MM, found, 0).astype(np.uint16)


def _opened(asked: Asked, found: Checkpoint) -> tuple[Any, tuple[int, int]]:
    """The checkpoint's network where it is to run, and the (height, width) that it sees."""
    import torch

    from fastseg.inference import restored
    from fastseg.loop import chosen_device
    from fastseg.methods import parse_size

    if asked.threads:
        torch.set_num_threads(asked.threads)
    size = parse_size(asked.size) if asked.size else found.record.size
    return restored(found).to(chosen_device(asked.device)), size
