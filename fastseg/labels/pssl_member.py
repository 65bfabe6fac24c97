"""One classifier of an ensemble: how pictures become its input, and its net made ready for gradients of the input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

FOLDED_WITHIN = 1e-4  # of the largest logit: folding reorders float32 sums, it changes nothing else
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Member:
    """A classifier: logits (N, outputs) of images (N, 3, size, size) that were brought to its mean and deviation.

    name        of the model, unique in its ensemble: its noise follows from it
    net         the network; `prepared` gives it as it is used
    mean, std   (R, G, B) of an image in [0, 1], what it subtracts and divides by
    size        pixels of a side of its input
    columns     for each class of the data set the output that stands for it; None = the same order
    """

    name: str
    net: nn.Module = field(repr=False)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int = 224
    columns: tuple[int, ...] | None = None

    def output(self, number: int) -> int:
        """The output that stands for class `number`."""
        return number if self.columns is None else self.columns[number]

    def inputs(self, images: Tensor) -> Tensor:
        """The network's input (N, 3, size, size) float32 of pictures (N, 3, H, W) uint8, on their device."""
        found = images.float()
        if found.shape[-2:] != (self.size, self.size):
            found = functional.interpolate(found, (self.size, self.size), mode="bilinear", antialias=True)
        mean, std = (255 * torch.tensor(each, device=images.device).reshape(3, 1, 1) for each in (self.mean, self.std))
        return (found - mean) / std


def prepared(member: Member, device: str, dtype: torch.dtype) -> Member:
    """The member in evaluation mode on its device, its weights without gradients, batch normalisation folded away.

    The member given stays as it is. Channels lie last in memory: convolutions of a processor and of a GPU's tensor
    cores are fastest so.
    """
    net = copy.deepcopy(member.net)
    with suppress(NotImplementedError):  # a program of torch.export has one mode alone
        net.eval()
    net = folded(net.requires_grad_(False), member.size)
    net = net.to(device, dtype).to(memory_format=torch.channels_last)
    return replace(member, net=net)


def folded(net: nn.Module, size: int) -> nn.Module:
    """The network with each batch normalisation that follows a convolution folded into it; itself where none can be.

        W' = W g / sqrt(v + e),  b' = (b - m) g / sqrt(v + e) + B

    What follows what is seen in one pass, and the folded network's logits are compared with the first: a network that
    uses a convolution's output twice keeps its normalisations.
    """
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    pairs = _pairs(net, image)
    if not pairs:
        return net
    result = copy.deepcopy(net)
    for conv, norm in pairs:
        fused = fuse_conv_bn_eval(result.get_submodule(conv), result.get_submodule(norm))  # type: ignore[type-var, arg-type]
        _put(result, conv, fused)
        _put(result, norm, _after(result.get_submodule(norm)))
    result.requires_grad_(False)
    with torch.inference_mode():
        before, after = net(image), result(image)
    close = (before - after).abs().max() <= FOLDED_WITHIN * before.abs().max().clamp_min(1e-6)
    return result if bool(close) else net


def _pairs(net: nn.Module, image: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions and batch normalisations that are called once, one on what the other gave."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, so that its id stays its own
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []

    def after_conv(name: str, output: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        made[id(output)] = (name, output)

    def before_norm(name: str, given: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        if id(given) in made:
            pairs.append((made[id(given)][0], name))

    hooks = [
        module.register_forward_hook(lambda m, given, output, name=name: after_conv(name, output))
        for name, module in net.named_modules()
        if isinstance(module, CONVOLUTIONS)
    ]
    hooks += [
        module.register_forward_pre_hook(lambda m, given, name=name: before_norm(name, given[0]))
        for name, module in net.named_modules()
        if isinstance(module, nn.BatchNorm2d) and _after(module) is not None
    ]
    try:
        with torch.inference_mode():
            net(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [(conv, norm) for conv, norm in pairs if calls[conv] == calls[norm] == 1]


def _after(norm: Any) -> nn.Module | None:
    """What is left of a normalisation that is folded: nothing, or the activation that timm's have inside."""
    if norm.running_mean is None:  # it takes the batch's own statistics
        return None
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if hasattr(norm, "drop") and hasattr(norm, "act"):
        return nn.Sequential(norm.drop, norm.act)
    return None


def _put(net: nn.Module, name: str, module: nn.Module | None) -> None:
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, module)


def check_members(members: Sequence[Member]) -> None:
    """None; ValueError for no classifier, or two of one name."""
    names = [member.name for member in members]
    if not names:
        raise ValueError("an ensemble needs at least one classifier")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"classifiers must have different names, since their noise follows from them; got {twice[0]}")
