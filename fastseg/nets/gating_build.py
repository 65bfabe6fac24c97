"""Gated networks by name: over an encoder, over a decoder's features, in the place of an ASPP; several scales."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.features import Features, Network
from fastseg.nets.gating import UNGATED, Gating
from fastseg.nets.gating_net import LEAST, GatedNet
from fastseg.nets.published import dilated

STRIDE, SCALES = 8, (1.0, 0.75, 0.5)


class MultiScale(Network):
    """The comparison: one network without gates on the image at several sizes, its softmax scores averaged.

    Chen et al., "Attention to Scale" (2016), with all weights alike; the logits are the log of the mean.
    """

    classifiers: ClassVar[tuple[str, ...]] = ("net.classifier.",)

    def __init__(self, net: GatedNet) -> None:
        super().__init__()
        self.net = net

    @property
    def encoder(self) -> nn.Module:
        """The one encoder of all sizes."""
        return self.net.encoder

    def rest_statistics(self) -> None:
        """None; the encoder's batch statistics stay what they are, in training too."""
        self.net.rest_statistics()

    def stages(self) -> list[list[nn.Module]]:
        return self.net.stages()

    def features(self, images: Tensor) -> Features:
        size = images.shape[-2:]
        seen = [[max(1, round(side * scale)) for side in size] for scale in SCALES]
        looks = [functional.interpolate(images, each, mode="bilinear", antialias=True) for each in seen[1:]]
        found = [self.net.features(look) for look in (images, *looks)]
        grown = [functional.interpolate(each.logits.exp(), list(size), mode="bilinear") for each in found]
        mean = torch.stack(grown).mean(0).clamp_min(LEAST)
        return Features(found[0].encoder, found[0].penultimate, mean.log())


def gated(name: str, classes: int, inner: Callable[[str], Any]) -> GatedNet | MultiScale:
    """The network `gated-WORDS/ENCODER`, or `gated-WORDS/DECODER/ENCODER`: over the features of that decoder.

    inner   makes a network of segmentation-models-pytorch by name

    ValueError: words that mean nothing, or an encoder or decoder that gating does not go over.
    """
    words, _, plain = name.partition("/")
    spec = Gating.parsed(words)
    if spec.source in UNGATED and spec.loops:
        raise ValueError(f"{words}: loops need gates, which {spec.source} has not")
    if spec.aspp:
        net = _for_aspp(plain, inner, spec, classes)
    elif "/" in plain:
        net = _over_decoder(plain, inner(plain), spec, classes)
    else:
        encoder, width = dilated(plain, STRIDE)
        net = GatedNet(encoder, None, width, STRIDE, spec, classes)
    return MultiScale(net) if spec.source == "multiscale" else net


def _over_decoder(plain: str, net: Any, spec: Gating, classes: int) -> GatedNet:
    from fastseg.nets import stride

    if isinstance(net, Network) or not hasattr(net, "decoder"):
        raise ValueError(f"a gated head goes over segmentation-models-pytorch's decoders, or an encoder; got {plain}")
    width = next(each.in_channels for each in net.segmentation_head.modules() if isinstance(each, nn.Conv2d))
    return GatedNet(net.encoder, net.decoder, width, stride(net), spec, classes)


def _for_aspp(plain: str, inner: Callable[[str], Any], spec: Gating, classes: int) -> GatedNet:
    """DeepLabV3 whose pooling pyramid is the gating module; the convolution after it stays."""
    if not plain.startswith("deeplabv3/"):
        raise ValueError(f"aspp is a place in deeplabv3: gated-aspp-w256/deeplabv3/ENCODER; got {plain}")
    net = inner(plain)
    after = nn.Sequential(OrderedDict(list(net.decoder.named_children())[1:]))
    if (width := net.decoder.conv.in_channels) != spec.width:
        raise ValueError(f"in ASPP's place the gates have its {width} channels, w{width}; got w{spec.width}")
    return GatedNet(net.encoder, None, int(net.encoder.out_channels[-1]), STRIDE, spec, classes, after)
