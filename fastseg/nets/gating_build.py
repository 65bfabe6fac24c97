"""Gated networks by name: over an encoder, over a decoder's features, in the place of an ASPP; several scales."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.fcn import FCN
from fastseg.nets.features import Features, Network
from fastseg.nets.gating import UNGATED, Gating
from fastseg.nets.gating_net import LEAST, GatedNet
from fastseg.nets.hypercolumn import Hypercolumn
from fastseg.nets.ocr import OCRNet
from fastseg.nets.published import dilated
from fastseg.nets.segnet import SegNet

Own = SegNet | FCN | Hypercolumn | OCRNet  # whose `read` gives all that the classifier reads as one map
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


class GatedInner(GatedNet):
    """The head over a network of this library, whose own classifier is left out; all else keeps its name.

    So the weights of such a network come over whole, not those of its encoder alone.
    """

    def __init__(self, net: Own, spec: Gating, classes: int) -> None:
        from fastseg.nets import stride

        layers = [each for each in net.classifier.modules() if isinstance(each, nn.Conv2d)]
        super().__init__(
            net.encoder, getattr(net, "decoder", None), sum(each.in_channels for each in layers), stride(net), spec,
            classes,
        )  # fmt: skip
        del net.classifier
        for name, part in net.named_children():
            if name not in ("encoder", "decoder"):
                self.add_module(name, part)
        self._inner = (net,)  # in a tuple: its parts are registered, and would be saved twice

    def stages(self) -> list[list[nn.Module]]:
        return self._inner[0].stages()

    def _trunk(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        maps, x = self._inner[0].read(self._padded(images, "replicate"))
        return list(maps), x


def gated(name: str, classes: int, inner: Callable[[str], Any]) -> GatedNet | MultiScale:
    """The network `gated-WORDS/ENCODER`, or `gated-WORDS/DECODER/ENCODER`: over the features of that decoder.

    inner   makes a network of as many classes by name

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

    if isinstance(net, Own):
        return GatedInner(net, spec, classes)
    if isinstance(net, Network) or not hasattr(net, "decoder"):
        raise ValueError(f"a gated head goes over an encoder, or a decoder/encoder; got {plain}")
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
