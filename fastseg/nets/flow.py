"""Optical flow from a segmentation network's encoder: it sees both frames, a decoder finds where the pixels went."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.classifier import encoder_maps
from fastseg.ops.photometric import warp_flow

WIDTH = 32
REACH = 0.1  # what the heads' numbers are multiplied by: a step of the optimiser moves no pixel out of the frame
SIDES = 32  # what the frames' sides are multiples of where an encoder takes any


class FlowLevel(nn.Module):
    """A flow (N, 2, h, w) in pixels of its level's maps, and the features (N, WIDTH, h, w) that it was read from.

        f = g + 0.1 head(x),   x = convolutions of [t, s(. + g), g, x'],   g, x' = flow and features one level down

    channels   of the encoder's map, which becomes t of the target and s of the source by the same convolution
    """

    def __init__(self, channels: int, first: bool) -> None:
        super().__init__()
        self.look = _convolution(channels, WIDTH)
        self.joined = _convolution(2 * WIDTH + (0 if first else 2 + WIDTH), WIDTH)
        self.refined = _convolution(WIDTH, WIDTH)
        self.head = _convolution(WIDTH, 2)

    def forward(self, target: Tensor, source: Tensor, coarser: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        t, s = (functional.elu(self.look(each)) for each in (target, source))
        if coarser is None:
            joined, before = [t, s], torch.zeros((), device=t.device)
        else:
            before, x = grown_flow(coarser[0], t.shape[-2:]), _grown(coarser[1], t.shape[-2:])
            warped, _ = warp_flow(s.float().contiguous(), before.detach().contiguous())
            joined = [t, warped.to(t.dtype), before.to(t.dtype), x]
        x = functional.elu(self.joined(torch.cat(joined, 1)))
        x = functional.elu(self.refined(x))
        return before + REACH * self.head(x).float(), x


class FlowNet(nn.Module):
    """Flows of a target frame into a source frame, both through one encoder, from its coarsest map to its finest.

    encoder     a segmentation network's own, under the same names, so that its weights go back by name
    flow        a FlowLevel for each size of the encoder's maps below the frames' own, coarsest first
    step        what the frames' sides must be multiples of
    mean, std   what the frames are normalised by, (3, 1, 1): those of the weights that the encoder started from
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, step: int) -> None:
        super().__init__()
        self.encoder, self.step = encoder, step
        channels = [each.shape[1] for each in _probed(encoder, step)]
        self.flow = nn.ModuleList(FlowLevel(each, index == 0) for index, each in enumerate(reversed(channels)))
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def normalised_by(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """None; frames are normalised by these from now on."""
        for buffer, values in ((self.mean, mean), (self.std, std)):
            buffer.copy_(torch.tensor(values).reshape(3, 1, 1))

    def forward(self, target: Tensor, source: Tensor) -> list[Tensor]:
        """The flows (N, 2, h, w) float32, u then v, in pixels of their own size; the frames' size first.

        target, source   (N, 3, H, W) float32 in [0, 1], sides multiples of `step`
        """
        pair = (torch.cat([target, source]) - self.mean) / self.std
        maps = [each.chunk(2) for each in sized_maps(self.encoder, pair)]
        found: list[tuple[Tensor, Tensor]] = []
        for level, (mine, theirs) in zip(self.flow, reversed(maps), strict=True):
            found.append(level(mine, theirs, found[-1] if found else None))
        levels = [flow for flow, _ in reversed(found)]
        return [grown_flow(levels[0], target.shape[-2:]), *levels[1:]]


def sized_maps(encoder: nn.Module, images: Tensor) -> list[Tensor]:
    """An encoder's deepest map of each size smaller than the images', finest first."""
    if isinstance(encoder, nn.Sequential):
        every, x = [], images
        for layer in encoder:
            found = layer(x)
            x = found[0] if isinstance(found, tuple) else found  # a pooling that gives its indices too
            every.append(x)
    else:
        every = list(encoder_maps(encoder, images))
    ordered = sorted(every, key=lambda each: -each.shape[-1])  # stable: the deeper of one size comes later
    last = [each for each, after in pairwise(ordered) if each.shape[-1] != after.shape[-1]] + ordered[-1:]
    return [each for each in last if each.shape[-1] < images.shape[-1]]


def flow_net(net: nn.Module, step: int) -> FlowNet:
    """A FlowNet over the encoder of a segmentation network, whose images' sides are multiples of `step`.

    ValueError: a network without an encoder of its own.
    """
    encoder = getattr(net, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"{type(net).__name__} has no encoder of its own to learn flow with")
    return FlowNet(encoder, step if step > 1 else SIDES)


def grown_flow(flow: Tensor, size: tuple[int, ...]) -> Tensor:
    """A flow (N, 2, h, w) for pixels of another size: interpolated, and as many times longer as the pixels are more."""
    if flow.shape[-2:] == size:
        return flow
    longer = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]]).reshape(2, 1, 1)
    return _grown(flow, size) * longer


def _probed(encoder: nn.Module, step: int) -> list[Tensor]:
    """The maps of an empty image; statistics stay as they are."""
    training = encoder.training
    with torch.no_grad():
        found = sized_maps(encoder.eval(), torch.zeros(1, 3, 2 * step, 2 * step))
    encoder.train(training)
    return found


def _grown(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(x, list(size), mode="bilinear", align_corners=False)


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate")
