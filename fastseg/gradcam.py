"""Grad-CAM: where in an image a layer speaks for what the network predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastseg.nets import blocks, logits


def gradcam(net: nn.Module, images: Tensor, layer: nn.Module, depth: Tensor | None = None) -> Tensor:
    """Where the layer speaks for the prediction, (N, h, w) float32 at the layer's own size, not negative.

        CAM = relu(sum_c w_c A_c),   w_c = mean over places of dy / dA_c,   y = sum over pixels of max_k logit_k

    y sums the logits of the classes predicted; of a depth network, with its one output, all of it.
    images   (N, 3, H, W), normalised
    layer    of `net`, its output A (N, C, h, w)
    depth    (N, H, W) metres, for a network whose gates it is

    Leaves the network in evaluation mode. ValueError: the layer takes no part, or its output is not a map of features.
    Selvaraju et al., "Grad-CAM", ICCV 2017; summed over pixels as Vinogradova et al., "Seg-Grad-CAM", AAAI 2020.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone() if isinstance(output, Tensor) else output  # what follows may change it in place

    net.eval()
    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():  # of the images, so that a frozen encoder has gradients as well
            scores = logits(net, images.detach().requires_grad_(), depth)
            predicted = scores.gather(1, scores.argmax(1, keepdim=True)).sum()
    finally:
        handle.remove()
    found = kept[-1] if kept else None
    if not isinstance(found, Tensor) or found.ndim != 4:
        kind = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        got = f"it gives {kind}" if kept else "it takes no part"
        raise ValueError(f"Grad-CAM needs a layer whose output is a map of features (N, C, h, w); {got}")
    (slope,) = torch.autograd.grad(predicted, found)
    return (slope.mean((2, 3), keepdim=True) * found).sum(1).relu().detach().float()


def layer_of(net: nn.Module, name: str) -> nn.Module:
    """The layer that `name` stands for: the end of a block of the encoder by number, or a module by its dotted name.

    name   "0" = the first block, "-1" the last (see `fastseg.nets.blocks`); or such as `encoder.layer1`, `decoder`

    ValueError: neither.
    """
    if name.removeprefix("-").isdecimal():
        parts = blocks(net)
        if not -len(parts) <= int(name) < len(parts):
            known = f"0 to {len(parts) - 1}, or -1 for the last"
            raise ValueError(f"layer {name}: the encoder has {len(parts)} blocks, {known}")
        return parts[int(name)][-1]
    modules: dict[str, nn.Module] = dict(net.named_modules())
    if not name or name not in modules:
        top = ", ".join(each for each, _ in net.named_children())
        raise ValueError(f"layer {name!r}: the network has no such module; it begins with {top}")
    return modules[name]
