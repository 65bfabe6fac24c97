"""From images to classes: one look, or several (scales, flips, windows) whose class probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from fastseg.checkpoint import Checkpoint
from fastseg.data.augment import Normalisation
from fastseg.frames import LabelledFrames, LabelledImages
from fastseg.tensors import Module, Tensor


@dataclass(frozen=True)
class Views:
    """How often a network looks at each image.

    scales    of the size it sees; probabilities are averaged over all looks
    flip      look at the mirror image too
    window    HEIGHTxWIDTH of a window that slides over an image larger than it; empty = the whole image at once
    overlap   the part of a window that the next one sees again
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: str = ""
    overlap: float = 1 / 3

    def __post_init__(self) -> None:
        from fastseg.methods import parse_size

        if self.window:
            parse_size(self.window, "views.window")
        if not self.scales or not all(0.05 <= scale <= 20 for scale in self.scales):
            raise ValueError(f"views.scales must be numbers between 0.05 and 20; got {list(self.scales)}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"views.overlap must lie in [0, 1); got {self.overlap:g}")

    @property
    def single(self) -> bool:
        """Whether it is one look at the whole image as it is."""
        return self.scales == (1.0,) and not self.flip and not self.window


def check_labels_pixels(found: Checkpoint) -> None:
    """None; ValueError for a network that does something else: names whole images, predicts depth, flow, pictures."""
    from fastseg.nets import CLASSIFY, DEPTH, DEPTH_CAMERA, DEPTH_POSE, FLOW, INPAINT

    does = {
        CLASSIFY: "names whole images (train classify), whose top-1 and top-5 --loop.eval_every measures in training",
        DEPTH: "predicts depth (train monodepth)",
        DEPTH_POSE: "predicts depth (train monodepth)",
        DEPTH_CAMERA: "predicts depth (train monodepth)",
        FLOW: "predicts optical flow (train monodepth --objective flow)",
        INPAINT: "restores pictures (train monodepth --objective inpaint)",
    }
    kind = found.record.network.partition("/")[0]
    if kind in does:
        raise ValueError(f"{found.path}: its network {does[kind]}, and here pixels are to be labelled")


def reads_labels(found: Checkpoint) -> bool:
    """Whether the checkpoint's network takes label maps, not images."""
    from fastseg.nets import LABELS

    return found.record.network.startswith(f"{LABELS}/")


def check_reads_images(found: Checkpoint) -> None:
    """None; ValueError for the checkpoint of a label autoencoder."""
    if reads_labels(found):
        raise ValueError(
            f"{found.path}: its network takes label maps (train label-autoencoder), not images; `fastseg evaluate` "
            "scores it"
        )


def restored(found: Checkpoint) -> Module:
    """The checkpoint's network with its weights, in evaluation mode, on the CPU."""
    from fastseg.nets import build_network

    net = build_network(found.record.network, len(found.record.classes))
    net.load_state_dict(found.weights)
    return net.eval()


def predictions(
    net: Module,
    images: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    normalisation: Normalisation,
    views: Views | None = None,
    depths: Sequence[Tensor] | None = None,
) -> Iterator[Tensor]:
    """The classes (H, W) int64 of images (3, h, w) uint8, each at its own shape (H, W).

    One look: logits are resized bilinearly. Several: the probabilities of each look are, and their mean decides.
    Depths (h, w) in metres are for a network whose gates they are. Leaves the network in evaluation mode.
    """
    import torch

    views = views or Views()
    net.eval()
    device = next(net.parameters()).device
    with torch.inference_mode():
        batch = torch.stack(list(images)).to(device)
        depth = None if depths is None else torch.stack(list(depths)).to(device)
        for number, shape in enumerate(shapes):
            if views.single and number == 0:
                whole = scores_of(net, batch, normalisation, depth)
            if views.single:
                yield _grown(whole[number][None], shape)[0].argmax(0)
            else:
                own = None if depth is None else depth[number]
                yield averaged(net, batch[number], shape, normalisation, views, own).argmax(0)


def depths_of(
    net: Module, examples: LabelledImages, indices: Iterable[int], size: tuple[int, int]
) -> list[Tensor] | None:
    """Depths (h, w) in metres of a set's images at the size that the network sees, None where it needs none.

    ValueError: its gates are measured depth, and the set has none, or none in metres.
    """
    import torch
    from torch.nn import functional

    from fastseg.nets import measures_depth
    from fastseg.nets.gating_depth import check_metres

    if not measures_depth(net):
        return None
    if not hasattr(examples, "depth"):
        raise ValueError(
            "this network's gates are measured depth, and the data set has none beside its images; gates that are "
            "predicted, attention or average need none"
        )
    found = []
    for index in indices:
        depth = cast(LabelledFrames, examples).depth(index)
        check_metres(depth, f"the depth of {examples.ids()[index]}")
        whole = torch.from_numpy(depth)[None, None]
        found.append(functional.interpolate(whole, list(size), mode="nearest-exact")[0, 0])
    return found


def scores_of(net: Module, images: Tensor, normalisation: Normalisation, depth: Tensor | None = None) -> Tensor:
    """Logits (N, classes, h, w) float32 of images (N, 3, h, w) uint8, and of depth (N, h, w) where its gates are."""
    from fastseg.nets import logits

    return logits(net, normalisation(images), depth).float()


def averaged(
    net: Module, image: Tensor, shape: tuple[int, ...], normalisation: Normalisation, views: Views,
    depth: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Class probabilities (classes, H, W) float32 of an image (3, h, w) uint8, averaged over all looks.

    depth   (h, w) metres, or None; a look at a scale sees it divided by that scale, as training does
    """
    import torch
    from torchvision.transforms.v2 import InterpolationMode, functional

    nearest = InterpolationMode.NEAREST_EXACT
    total: Tensor | None = None
    for scale in views.scales:
        size = [max(32, round(side * scale)) for side in image.shape[-2:]]
        seen = image if size == list(image.shape[-2:]) else functional.resize(image, size, antialias=True)
        there = None if depth is None else functional.resize(depth[None], size, nearest)[0] / scale
        for mirrored in (False, True) if views.flip else (False,):
            look = seen.flip(-1) if mirrored else seen
            where = there.flip(-1) if mirrored and there is not None else there
            found = _grown(_probabilities(net, look, normalisation, views, where), shape)[0]
            found = found.flip(-1) if mirrored else found
            total = found if total is None else total + found
    assert total is not None, "there is at least one scale"
    return torch.div(total, len(views.scales) * (1 + views.flip))


def _probabilities(
    net: Module, image: Tensor, normalisation: Normalisation, views: Views, depth: Tensor | None
) -> Tensor:
    """Class probabilities (1, classes, h, w) of an image (3, h, w), by sliding windows where it is larger than one."""
    import torch

    from fastseg.methods import parse_size

    height, width = image.shape[-2:]
    window = parse_size(views.window) if views.window else (height, width)
    total: Tensor | None = None
    count = torch.zeros(height, width, device=image.device)
    for top in _starts(height, window[0], views.overlap):
        for left in _starts(width, window[1], views.overlap):
            part = (slice(top, top + window[0]), slice(left, left + window[1]))
            own = None if depth is None else depth[part][None]
            found = scores_of(net, image[(slice(None), *part)][None], normalisation, own).softmax(1)
            if total is None:
                total = found.new_zeros(1, found.shape[1], height, width)
            total[(slice(None), slice(None), *part)] += found
            count[part] += 1
    assert total is not None, "an image has at least one window"
    return total / count


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along one side: evenly spread, the last one flush with the end."""
    if length <= window:
        return [0]
    steps = math.ceil((length - window) / max(1.0, window * (1 - overlap)))
    return [round(index * (length - window) / steps) for index in range(steps + 1)]


def _grown(scores: Tensor, shape: tuple[int, ...]) -> Tensor:
    from torch.nn import functional

    return functional.interpolate(scores, list(shape), mode="bilinear", align_corners=False)
