"""What a predicted flow is compared with: the target frame as its source frames show it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.data.batches import Scene
from fastseg.methods import Start
from fastseg.nets import flows
from fastseg.nets.flow import FlowNet
from fastseg.ops.photometric import Window, photometric_flow_loss

LEAST = 8  # pixels of the shorter side: a coarser level of the pyramid shows nothing that a window could compare


class FlowSettings(Protocol):
    """What this loss reads of `fastseg.methods.pretext.FlowConfig`."""

    @property
    def colour(self) -> float: ...
    @property
    def structure(self) -> float: ...
    @property
    def ssim(self) -> Window: ...
    @property
    def smoothness(self) -> float: ...


def normalising(begun: Start) -> None:
    """None; the network of flow normalises frames as the weights that it starts from expect."""
    assert isinstance(begun.net, FlowNet)
    begun.net.normalised_by(begun.normalisation.mean, begun.normalisation.std)


def flow_loss(net: nn.Module, scene: Scene, labels: Tensor, settings: FlowSettings) -> Tensor:
    """The mean over source frames and scales s of  mean_p pe_s(p) + w smoothness_s,  a float32 scalar.

        pe = colour |I - I'| + structure (1 - SSIM(I, I')),   I'(p) = source(p + f(p)),  mean over channels

    pe_s      at the size of the flow's scale, frames shrunk to it; its mean over the labelled pixels (labels (N, H, W),
              255 = not seen)

    ValueError: a scene without frames. Depth pre-training paper (appendix B.3).
    """
    assert isinstance(net, FlowNet)
    if scene.sources is None:
        raise ValueError("objective flow needs clips: source frames beside their target")
    target, sources = scene.images.float() / 255, scene.sources.float() / 255
    frames = sources.shape[1]
    repeated = target[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
    found = flows(net, repeated, sources.flatten(0, 1))
    kept = (labels != 255).float()[:, None].expand(-1, frames, -1, -1).flatten(0, 1)[:, None]
    terms = []
    for factor, flow in found:
        if factor > 1 and min(flow.shape[-2:]) < LEAST:
            continue
        here, there, seen = (shrunk(each, factor) for each in (repeated, sources.flatten(0, 1), kept))
        error = photometric(here, there, flow, settings)
        rough = flow_smoothness(flow / labels.shape[-1], here)
        terms.append((error * seen[:, 0]).sum() / seen.sum().clamp_min(1) + settings.smoothness * rough)
    return torch.stack(terms).mean()


def photometric(target: Tensor, source: Tensor, flow: Tensor, settings: FlowSettings) -> Tensor:
    """colour |I - I'| + structure (1 - SSIM), (N, H, W): the op's error, whose two shares sum to 1, times a weight.

    target, source (N, 3, H, W) in [0, 1], flow (N, 2, H, W) pixels
    """
    weight = settings.colour + 2 * settings.structure
    alpha = 2 * settings.structure / weight
    error: Tensor = photometric_flow_loss(
        target.contiguous(), source[:, None].contiguous(), flow[:, None].contiguous(),
        ssim=settings.ssim, alpha=alpha, reduce="mean",
    )[0]  # fmt: skip
    return weight * error


def flow_smoothness(flow: Tensor, images: Tensor) -> Tensor:
    """How much a flow varies where its image does not, a float32 scalar.

        mean |dx f| e^-|dx I| + mean |dy f| e^-|dy I|,   |d. f| a sum over u and v, |d. I| a mean over channels

    flow    (N, 2, H, W) floating, computed in float32; images (N, 3, H, W) float32 in [0, 1]

    Depth pre-training paper (equation 14).
    """
    total = torch.zeros((), device=flow.device)
    for axis in (-1, -2):
        edge = images.diff(dim=axis).abs().mean(1)
        steep = flow.float().diff(dim=axis).abs().sum(1) * (-edge).exp()
        total = total + steep.sum() / max(steep.numel(), 1)  # one row or column has no neighbour
    return total


def shrunk(images: Tensor, factor: int) -> Tensor:
    """(N, C, H / factor, W / factor), rounded up: means over squares of pixels, the border's repeated."""
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    padded = functional.pad(images, (0, -width % factor, 0, -height % factor), mode="replicate")
    return functional.avg_pool2d(padded, factor)
