"""An image with its label, depth and camera, changed together; chosen by (seed, epoch, index) alone.

What stays true: HN-labels are heights above the floor and angles to up, properties of a point of the scene, so a flip
(the mirrored room), a turn (the camera rolls) and a scale (the camera zooms) move them with their pixels and change
none. Not so under `divide_depth`, which shrinks the scene: it is for learning depth, not for HN-labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastseg.data.augment_colour import blurred, jittered
from fastseg.data.augment_geometry import IGNORE, Axis, Fit, Placement, scales
from fastseg.frames import Camera
from fastseg.tensors import Tensor

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.unsignedinteger]
MAX_SOURCES = 4  # as many as the photometric op takes


@dataclass(frozen=True)
class Normalisation:
    """What a network subtracts and divides by, (R, G, B) of an image in [0, 1]; it travels with the weights."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8 as the network's float32 input, on their device."""
        import torch

        options: dict[str, Any] = {"dtype": torch.float32, "device": images.device}
        mean, std = (255 * torch.tensor(each, **options).reshape(3, 1, 1) for each in (self.mean, self.std))
        return (images.float() - mean) / std


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNIT = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class AugmentConfig:
    """How training images vary.

    flip            probability of a horizontal flip
    min_scale       the image is scaled by a factor of at least this (log-uniform), then cropped or padded
    max_scale       and of at most this
    jitter          brightness, contrast and saturation are multiplied by factors within 1 +- jitter
    hue             and the hue is turned by at most this part of the colour circle
    jitter_chance   probability of these four, of one image
    blur            probability of a Gaussian blur
    blur_sigma      its greatest sigma, in pixels of the result (uniform from 0.1)
    rotate          the image is turned by at most this many degrees, either way
    aspect          what is shown is wider or narrower by a factor of at most this (log-uniform)
    fit             an image of another aspect than the result's is stretched into it, or covers it and loses its ends
    divide_depth    depth is divided by the scale, as if the scene had come nearer; not for labels in metres
    """

    flip: float = 0.5
    min_scale: float = 0.8
    max_scale: float = 1.25
    jitter: float = 0.2
    hue: float = 0.0
    jitter_chance: float = 1.0
    blur: float = 0.0
    blur_sigma: float = 2.0
    rotate: float = 0.0
    aspect: float = 1.0
    fit: Fit = "stretch"
    divide_depth: bool = False

    def __post_init__(self) -> None:
        for name in ("flip", "jitter_chance", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name} is a probability between 0 and 1; got {getattr(self, name):g}")
        if not 0 < self.min_scale <= self.max_scale <= 10:
            raise ValueError(f"scales must be 0 < min <= max <= 10; got {self.min_scale:g} and {self.max_scale:g}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"augment.jitter must lie in [0, 1); got {self.jitter:g}")
        bounds = {"hue": (0, 0.5), "rotate": (0, 180), "aspect": (1, 10), "blur_sigma": (0.1, 50)}
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"augment.{name} must lie between {low:g} and {high:g}; got {getattr(self, name):g}")
        if self.fit not in ("stretch", "cover"):
            raise ValueError(f"augment.fit is stretch or cover; got {self.fit!r}")


NOTHING = AugmentConfig(flip=0.0, min_scale=1.0, max_scale=1.0, jitter=0.0)


class Augmented(NamedTuple):
    """image (3, h, w) uint8, label (h, w) uint8; depth (h, w) float32 metres, 0 = none; camera (4,) float64.

    camera holds fx, fy, cx, cy in pixels of the result. Of a clip, sources (S, 3, h, w) uint8, poses (S, 4, 4) float32
    T_source_target, and extent (2,) float64, see `Placement.extent`. What was not given is None.
    """

    image: Tensor
    label: Tensor
    depth: Tensor | None
    camera: Tensor | None
    sources: Tensor | None = None
    poses: Tensor | None = None
    extent: Tensor | None = None


@dataclass(frozen=True)
class Change:
    """What one example undergoes, all its frames alike.

    where     which pixel goes where
    factors   of brightness, contrast and saturation; hue, in turns. None and 0 = as they are
    sigma     of the blur in pixels, 0 = none
    divisor   what depths and distances are divided by
    """

    where: Placement
    factors: tuple[float, ...] | None
    hue: float
    sigma: float
    divisor: float

    @classmethod
    def drawn(
        cls, shape: tuple[int, ...], size: tuple[int, int], config: AugmentConfig, key: tuple[int, int, int],
        camera: Camera | None,
    ) -> Change:  # fmt: skip
        """The change of an image of `shape` into one of `size`; the same key draws the same one, in any process."""
        random = np.random.default_rng(key)
        scale = float(np.exp(random.uniform(np.log(config.min_scale), np.log(config.max_scale))))
        place, flip = random.random(2), bool(random.random() < config.flip)
        factors = random.uniform(1 - config.jitter, 1 + config.jitter, 3).tolist()
        # Drawn whether needed or not, new ones last: one field of the configuration changes nothing that another does.
        turn, narrow, hue = random.uniform(-1, 1, 3).tolist()
        jitter, blur, sigma = random.random(3).tolist()
        reach = scales(shape, size, config.fit, scale, config.aspect**narrow)
        rows, columns = (Axis.placed(*each) for each in zip(shape, size, reach, place.tolist(), strict=True))
        stretch = camera.fx / camera.fy if camera is not None else 1.0
        where = Placement(rows, columns, float(np.radians(config.rotate * turn)), flip, stretch)
        coloured = bool(config.jitter or config.hue) and jitter < config.jitter_chance
        wide = 0.1 + (config.blur_sigma - 0.1) * sigma if blur < config.blur else 0.0
        divisor = scale if config.divide_depth else 1.0
        return cls(where, tuple(factors) if coloured else None, config.hue * hue if coloured else 0.0, wide, divisor)

    def colour(self, image: Bytes) -> Tensor:
        """(3, h, w) uint8 of (H, W, 3)."""
        found = self.where.colour(_tensor(image).permute(2, 0, 1))
        if self.factors is not None:
            found = jittered(found, self.factors, self.hue)
        return (blurred(found, self.sigma) if self.sigma else found).contiguous()

    def metres(self, depth: npt.NDArray[np.float32]) -> Tensor:
        """(h, w) of (H, W) metres; 0 = no measurement."""
        measured = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
        return self.where.nearest(_tensor(measured), 0) / self.divisor

    def poses(self, poses: npt.NDArray[np.float32]) -> Tensor:
        """(S, 4, 4) float32 between the changed frames: A T A^-1, where A turns and mirrors the points of either."""
        import torch

        turned = self.where.points
        found = turned @ poses.astype(np.float64) @ np.linalg.inv(turned)
        found[:, :3, 3] /= self.divisor
        return torch.from_numpy(found.astype(np.float32))


def augment(
    image: Bytes,
    label: Labels,
    size: tuple[int, int],
    config: AugmentConfig,
    key: tuple[int, int, int],
    depth: npt.NDArray[np.float32] | None = None,
    camera: Camera | None = None,
) -> Augmented:
    """The training example of an image (H, W, 3) and its label (H, W), and of its depth (H, W) in metres and camera.

    size    (h, w) of the result; `config.fit` brings the image to it, which is then scaled about it
    key     (seed, epoch, index): the same key gives the same example, in any process

    Colour is resized bilinearly with antialias, label and depth to the nearest; what was not seen is grey, 255 and 0.
    Back-projecting the result gives the points of the image as it was, turned about z, mirrored in x, and, under
    `config.divide_depth`, divided by the scale. ValueError: sizes or types that do not fit together.
    The one class () of a whole image stays what it is, as a () int64 tensor.
    """
    if label.ndim == 0:
        return _whole(augment(image, np.zeros(image.shape[:2], np.uint8), size, config, key), int(label))
    _check(image, label, depth, camera)
    change = Change.drawn(label.shape, size, config, key, camera)
    metres = None if depth is None else change.metres(depth)
    where = change.where
    classes = label if label.dtype == np.uint8 else label.astype(np.int32)  # few of torch's functions take uint16
    return Augmented(change.colour(image), where.nearest(_tensor(classes), IGNORE), metres, _intrinsics(camera, where))


def augment_clip(
    image: Bytes,
    sources: npt.NDArray[np.uint8],
    camera: Camera | None,
    poses: npt.NDArray[np.float32] | None,
    size: tuple[int, int],
    config: AugmentConfig,
    key: tuple[int, int, int],
) -> Augmented:
    """The training example of a clip, see `fastseg.frames.Clips`; every frame is changed alike, as in `augment`.

    Its label is 0 where the target was seen and 255 elsewhere. ValueError: frames, camera or poses that do not fit
    together.
    """
    import torch

    label = np.zeros(image.shape[:2], np.uint8)
    _check(image, label, None, camera)
    _check_sources(sources, image.shape, poses)
    change = Change.drawn(label.shape, size, config, key, camera)
    seen = torch.stack([change.colour(source) for source in sources])
    found = augment(image, label, size, config, key, None, camera)
    extent = torch.tensor(change.where.extent, dtype=torch.float64)
    return found._replace(sources=seen, poses=None if poses is None else change.poses(poses), extent=extent)


def _whole(found: Augmented, number: int) -> Augmented:
    """An example whose label is the class of the whole image."""
    import torch

    return found._replace(label=torch.tensor(number))


def resized(image: Bytes, size: tuple[int, int]) -> Tensor:
    """An image (H, W, 3) uint8 as (3, h, w) uint8, bilinear with antialias: what a network sees in evaluation."""
    from torchvision.transforms.v2 import functional

    small: Tensor = functional.resize(_tensor(image).permute(2, 0, 1), list(size), antialias=True)
    return small.contiguous()


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _intrinsics(camera: Camera | None, where: Placement) -> Tensor | None:
    import torch

    return None if camera is None else torch.tensor(where.intrinsics(camera), dtype=torch.float64)


def _check(image: Bytes, label: Labels, depth: npt.NDArray[np.float32] | None, camera: Camera | None) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 (H, W, 3); got {image.dtype} {image.shape}")
    size = image.shape[:2]
    if label.dtype not in (np.uint8, np.uint16) or label.shape != size:
        raise ValueError(f"its label must be uint8 or uint16 {size}, as its image; got {label.dtype} {label.shape}")
    if depth is not None and (depth.dtype != np.float32 or depth.shape != size):
        raise ValueError(f"its depth must be float32 {size}, as its image; got {depth.dtype} {depth.shape}")
    if camera is not None and (camera.height, camera.width) != size:
        raise ValueError(f"its camera must be of {size}, as its image; got {(camera.height, camera.width)}")


def _check_sources(
    sources: npt.NDArray[np.uint8], shape: tuple[int, ...], poses: npt.NDArray[np.float32] | None
) -> None:
    if sources.dtype != np.uint8 or sources.ndim != 4 or sources.shape[1:] != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(
            f"source frames must be uint8 (S, {wanted}), as their target; got {sources.dtype} {sources.shape}"
        )
    if not 1 <= len(sources) <= MAX_SOURCES:
        raise ValueError(f"a clip has 1 to {MAX_SOURCES} source frames; got {len(sources)}")
    if poses is not None and (poses.shape != (len(sources), 4, 4) or not np.isfinite(poses).all()):
        raise ValueError(f"the poses of {len(sources)} source frames must be finite, 4x4 each; got {poses.shape}")
