"""From images to depth: what a network trained by `fastseg train monodepth` sees, in metres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fastseg.checkpoint import Checkpoint
from fastseg.data.augment import Normalisation
from fastseg.tensors import Module, Tensor

if TYPE_CHECKING:
    from fastseg.inference import Views

Limits = tuple[float, float]


def predicts_depth(found: Checkpoint) -> bool:
    """Whether it is the checkpoint of a depth network."""
    from fastseg.nets import DEPTH, DEPTH_CAMERA, DEPTH_POSE

    return found.record.network.partition("/")[0] in (DEPTH, DEPTH_POSE, DEPTH_CAMERA)


def depth_limits(found: Checkpoint) -> Limits:
    """(nearest, farthest) metres that the network was trained to tell apart.

    ValueError: a network that does not predict depth, or a record that does not say them.
    """
    if not predicts_depth(found):
        raise ValueError(f"{found.path}: expected a network that predicts depth; {found.record.network} does not")
    settings = found.record.config.get("depth")
    if not isinstance(settings, Mapping) or not {"nearest", "farthest"} <= settings.keys():
        raise ValueError(f"{found.path}: its configuration does not say depth.nearest and depth.farthest")
    return float(settings["nearest"]), float(settings["farthest"])


def in_metres(found: Checkpoint) -> bool:
    """Whether its depth is in metres: video alone teaches it up to one unknown factor."""
    return found.record.config.get("supervision") != "video"


def check_views(views: Views, found: Checkpoint) -> None:
    """None; ValueError for looks that a depth network does not take."""
    if views.scales != (1.0,) or views.window:
        raise ValueError(f"--views of a depth network are flips alone; {found.path} predicts depth")


def depth_alone(found: Checkpoint) -> Checkpoint:
    """The checkpoint without what was trained beside the depth network: the network of the camera's motion."""
    from fastseg.nets import DEPTH, build_network

    name = f"{DEPTH}/{found.record.network.partition('/')[2]}"
    if name == found.record.network:
        return found
    kept = build_network(name, len(found.record.classes)).state_dict()
    weights = {key: value for key, value in found.weights.items() if key in kept}
    return replace(found, record=replace(found.record, network=name), weights=weights)


def depths(
    net: Module,
    images: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    normalisation: Normalisation,
    limits: Limits,
    flip: bool = False,
) -> Iterator[Tensor]:
    """The depth (H, W) float32 metres of images (3, h, w) uint8, each at its own shape (H, W).

    It is the disparity that is resized, bilinearly. flip: the mean of it and of the mirror image's, mirrored back.
    Leaves the network in evaluation mode.
    """
    import torch
    from torch.nn import functional

    from fastseg.nets import disparities
    from fastseg.nets.depth import depth_of

    net.eval()
    with torch.inference_mode():
        seen = normalisation(torch.stack(list(images)).to(next(net.parameters()).device))
        found = disparities(net, seen)[0]
        if flip:
            found = (found + disparities(net, seen.flip(-1))[0].flip(-1)) / 2
        for one, shape in zip(found, shapes, strict=True):
            grown = functional.interpolate(one[None], list(shape), mode="bilinear", align_corners=False)
            yield depth_of(grown[0, 0], *limits)
