"""The networks of classifiers: timm's and torchvision's, with their own weights or those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastseg.tensors import Module, Tensor
from fastseg.weights import read_source


def library_net(arch: str, file: str = "", by_order: bool = False) -> Any:
    """The network timm:NAME or torchvision:NAME with the weights of a file, or those that the library publishes.

    by_order   the file's tensors are the network's in its order, under other names

    As many classes as the weights have. ValueError: an unknown architecture, or weights that do not fit.
    """
    library, _, name = arch.partition(":")
    make = _timm if library == "timm" else _torchvision
    net = make(name, not file)
    if file:
        weights = read_source(file).weights
        head = _head(net)
        last = list(weights.values())[-1] if by_order and weights else weights.get(head)
        if last is not None and last.ndim and len(last) != len(net.state_dict()[head]):
            net = make(name, False, num_classes=len(last))
        _fill(net, weights, arch, file, by_order)
    return net


def _head(net: Any) -> str:
    """The name of a tensor that has a row for each class."""
    named, state = (getattr(net, "pretrained_cfg", None) or {}).get("classifier"), net.state_dict()
    return f"{named}.weight" if f"{named}.weight" in state else str(next(reversed(state)))


def _timm(arch: str, published: bool, **options: Any) -> Any:
    import timm

    from fastseg.nets import unknown

    if not timm.is_model(arch):
        raise ValueError(unknown("timm model", arch, timm.list_models()))
    try:
        return timm.create_model(arch, pretrained=published, **options).eval()
    except Exception as error:  # a download fails in as many ways as there are networks
        raise ValueError(_no_weights("timm", arch, error)) from error


def _torchvision(arch: str, published: bool, **options: Any) -> Any:
    from torchvision import models

    from fastseg.nets import unknown

    if arch not in models.list_models(module=models):
        raise ValueError(unknown("torchvision model", arch, models.list_models(module=models)))
    try:
        return models.get_model(arch, weights="DEFAULT" if published else None, **options).eval()
    except Exception as error:
        raise ValueError(_no_weights("torchvision", arch, error)) from error


def _no_weights(library: str, arch: str, error: Exception) -> str:
    cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{library}'s weights of {arch} could not be had ({cause.rstrip('.')}); name a file of them in the list"


def _fill(net: Any, weights: Mapping[str, Tensor], arch: str, file: str, by_order: bool) -> None:
    """Put the weights in; ValueError unless every tensor has its place."""
    own = net.state_dict()
    if by_order:
        shapes = [tuple(tensor.shape) for tensor in weights.values()]
        if shapes != [tuple(tensor.shape) for tensor in own.values()]:
            raise ValueError(f"{file}: by_order needs the same shapes in the same order as {arch}")
        weights = dict(zip(own, weights.values(), strict=True))
    odd = sorted(own.keys() ^ weights.keys()) or [k for k in own if own[k].shape != weights[k].shape]
    if odd:
        hint = "" if by_order else "; are they of another implementation (by_order)?"
        raise ValueError(f"{file}: its tensors are not those of {arch}, {odd[0]} the first of {len(odd)}{hint}")
    net.load_state_dict(weights)


def outputs_of(net: Module, size: int, name: str) -> int:
    """How many classes the network gives logits of; ValueError where it does not take such images, or gives others."""
    import torch

    try:
        with torch.inference_mode():
            logits = net(torch.zeros(2, 3, size, size))
    except Exception as error:  # each network has its own way to refuse a size
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name} does not take some images of {size}x{size} at a time: {cause}") from error
    if not torch.is_tensor(logits) or logits.ndim != 2:
        raise ValueError(f"{name} is no classifier: it does not give logits (N, classes)")
    return int(logits.shape[1])
