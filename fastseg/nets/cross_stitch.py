"""Cross-stitch (HN-labels paper, section 3.4): a fixed, pre-trained encoder feeds a network at its first poolings."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastseg.nets.features import Features, Network, features

JUNCTIONS, FIXED, OWN = 4, 0.1, 0.9
Share = Literal["channel", "scalar"]


class CrossStitch(Network):
    """A network whose first four poolings give `L = a_h L_h + a_s L_s`, L_h from a fixed encoder (equation 3).

    net          the network that is trained
    fixed        a copy of its encoder, which holds the pre-trained weights: no gradient, fixed batch statistics
    a_h, a_s     for each pooling, (C, 1, 1) a channel or (1, 1, 1): learned, 0.1 and 0.9 at first

    Where an encoder has no max-pooling between its blocks (ResNet's later stages), the end of a block stands for it.
    """

    def __init__(self, net: nn.Module, widths: tuple[int, ...], share: Share) -> None:
        super().__init__()
        self.net = net
        self.fixed = _as_far_as_needed(copy.deepcopy(net.encoder)).requires_grad_(False).eval()
        shapes = [(width if share == "channel" else 1, 1, 1) for width in widths]
        self.a_h = nn.ParameterList(nn.Parameter(torch.full(shape, FIXED)) for shape in shapes)
        self.a_s = nn.ParameterList(nn.Parameter(torch.full(shape, OWN)) for shape in shapes)
        self._seen: list[Tensor] = []
        for index, (there, here) in enumerate(zip(junctions(self.fixed), junctions(net.encoder), strict=True)):
            there.register_forward_hook(self._look)
            here.register_forward_hook(lambda _, __, out, at=index: self._stitch(at, out))
        self.classifiers = tuple(f"net.{prefix}" for prefix in _classifiers(net))  # type: ignore[misc]

    def train(self, mode: bool = True) -> CrossStitch:
        super().train(mode)
        self.fixed.eval()
        return self

    def stages(self) -> list[list[nn.Module]]:
        from fastseg.nets import blocks

        return blocks(self.net)

    def features(self, images: Tensor) -> Features:
        self._seen = []
        with torch.no_grad():
            self.fixed(images)
        try:
            return features(self.net, images)
        finally:
            self._seen = []

    def figures(self) -> dict[str, float]:
        """Mean and standard deviation over the channels of the weights at each pooling: a_h_1, a_h_1_std, a_s_1, ..."""
        found: dict[str, float] = {}
        for kind, weights in (("a_h", self.a_h), ("a_s", self.a_s)):
            for pooling, weight in enumerate(weights, 1):
                values = weight.detach().double()
                found[f"{kind}_{pooling}"] = float(values.mean())
                found[f"{kind}_{pooling}_std"] = float(values.std(correction=0))
        return found

    def _look(self, module: nn.Module, inputs: Any, out: Any) -> None:
        self._seen.append(out[0] if isinstance(out, tuple) else out)

    def _stitch(self, at: int, out: Any) -> Any:
        if isinstance(out, tuple):  # a pooling that gives its indices too
            return (self._mixed(at, out[0]), *out[1:])
        return self._mixed(at, out)

    def _mixed(self, at: int, own: Tensor) -> Tensor:
        mixed: Tensor = self.a_h[at] * self._seen[at].to(own.dtype) + self.a_s[at] * own
        return mixed


def junctions(encoder: Any) -> list[nn.Module]:
    """The modules whose outputs are stitched: the first four max-poolings, or the ends of the first four blocks."""
    if isinstance(encoder, nn.Sequential):
        poolings: list[nn.Module] = [layer for layer in encoder if isinstance(layer, nn.MaxPool2d)]
        return poolings[:JUNCTIONS]
    from fastseg.nets import encoder_blocks

    return [block[-1] for block in encoder_blocks(encoder)[:JUNCTIONS]]


def _as_far_as_needed(encoder: Any) -> nn.Module:
    """The encoder up to its last junction, poolings without indices."""
    if not isinstance(encoder, nn.Sequential):
        assert isinstance(encoder, nn.Module), "an encoder is a module"
        return encoder
    last = junctions(encoder)[-1]
    names = [name for name, layer in encoder.named_children()]
    end = next(index for index, layer in enumerate(encoder) if layer is last)
    for layer in encoder:
        if isinstance(layer, nn.MaxPool2d):
            layer.return_indices = False
    for name in names[end + 1 :]:
        delattr(encoder, name)
    return encoder


def _classifiers(net: nn.Module) -> tuple[str, ...]:
    return net.classifiers if isinstance(net, Network) else ("segmentation_head.",)


def cross_stitch(net: nn.Module, share: Share) -> CrossStitch:
    """The network beside a fixed copy of its encoder, whose weights are still to be loaded (`fixed.*`)."""
    widths: list[int] = []

    def note(module: nn.Module, inputs: Any, out: Any) -> None:
        widths.append((out[0] if isinstance(out, tuple) else out).shape[1])

    hooks = [each.register_forward_hook(note) for each in junctions(net.encoder)]
    training = net.training
    with torch.no_grad():
        net.eval()
        features(net, torch.zeros(1, 3, 64, 64))
    net.train(training)
    for hook in hooks:
        hook.remove()
    return CrossStitch(net, tuple(widths), share)
