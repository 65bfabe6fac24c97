"""Parts of a network that training makes again in the backward: what they would keep until then takes no memory."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

RESNET = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")  # the parts of timm's, in order


def made_again(part: nn.Module, *given: Tensor | None) -> Tensor:
    """What the part makes of what it is given; what its backward needs is not kept, but made again there.

    The value, the gradients and the batch statistics are what they would be, to the bit; the part must not draw random
    numbers. In evaluation, without gradients and under torch.compile, which plans memory itself, nothing is made again.
    """
    if not part.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        found: Tensor = part(*given)
        return found
    contexts = lambda: (nullcontext(), _Once(part))  # noqa: E731
    found = checkpoint(part, *given, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return found


def encoded(encoder: nn.Module, images: Tensor) -> list[Tensor]:
    """What `encoder(images)` gives, finest map first; a ResNet's largest stages are `made_again` in training.

    encoder   of `fastseg.nets.published.pyramid`

    These, all but the last two, hold most of what it keeps, and cost about half of its forward once more.
    """
    model: Any = getattr(encoder, "model", encoder)
    if not encoder.training or tuple(name for name, _ in model.named_children()) != RESNET:
        found: list[Tensor] = encoder(images)
        return found
    half = made_again(nn.Sequential(model.conv1, model.bn1, model.act1), images)
    found = [images, half, made_again(nn.Sequential(model.maxpool, model.layer1), half)]
    found.append(made_again(model.layer2, found[-1]))
    for stage in (model.layer3, model.layer4):
        found.append(stage(found[-1]))
    return found


class _Once:
    """A context after which the part's buffers are as before: batch statistics count a batch once."""

    def __init__(self, part: nn.Module) -> None:
        self._part = part

    def __enter__(self) -> None:
        self._kept = [buffer.clone() for buffer in self._part.buffers()]

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for buffer, kept in zip(self._part.buffers(), self._kept, strict=True):
                buffer.copy_(kept)
