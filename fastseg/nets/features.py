"""One view into every network: encoder features, the features before the classifier, logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn


@dataclass(frozen=True)
class Features:
    """What a network computed on its way to the logits, for normalised images (N, 3, H, W).

    encoder       feature maps (N, C_i, H_i, W_i) from the finest to the coarsest
    penultimate   (N, C, h, w), the last convolutional features: what the classifier reads; of a hypercolumn, whose
                  classifier reads every map, the deepest one
    logits        (N, classes, H, W)
    auxiliary     (N, classes, H, W) logits of a network's own second classifier, None where it has none
    """

    encoder: tuple[Tensor, ...]
    penultimate: Tensor
    logits: Tensor
    auxiliary: Tensor | None = None


class Network(nn.Module):
    """A network of this library: `features` says everything, `forward` the logits alone.

    classifiers   prefixes of the state-dict keys of the layers that turn features into classes
    """

    classifiers: ClassVar[tuple[str, ...]] = ("classifier.",)

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's convolution blocks from the image on, each a list of modules in order."""
        raise TypeError(f"{type(self).__name__} must define stages")

    def features(self, images: Tensor) -> Features:
        """The features of normalised images (N, 3, H, W)."""
        raise TypeError(f"{type(self).__name__} must define features")

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).logits


def features(net: nn.Module, images: Tensor) -> Features:
    """The features of normalised images (N, 3, H, W) whose sides suit the network (see `fastseg.nets.stride`).

    net   a network of `fastseg.nets.build_network`

    ValueError: a network of another kind.
    """
    if isinstance(net, Network):
        return net.features(images)
    encoder: Any = getattr(net, "encoder", None)
    decoder, head = getattr(net, "decoder", None), getattr(net, "segmentation_head", None)
    if encoder is None or decoder is None or head is None:
        raise ValueError(f"{type(net).__name__} shows no encoder, decoder and segmentation_head")
    found = encoder(images)
    # DPT's encoder gives its class tokens beside the feature maps, and its decoder takes both.
    maps, parts = (found[0], found) if isinstance(found, tuple) else (found, (found,))
    before: Tensor = decoder(*parts)
    coarser = [each for each in maps if each.shape[1:] != images.shape[1:]]  # the first "feature" is the image
    return Features(tuple(coarser), before, head(before))


def before_poolings(encoder: nn.Sequential) -> list[list[nn.Module]]:
    """The layers of a VGG's `features` between its max-poolings: conv1 to conv5."""
    stages: list[list[nn.Module]] = [[]]
    for layer in encoder:
        if isinstance(layer, nn.MaxPool2d):
            stages.append([])
        else:
            stages[-1].append(layer)
    return [stage for stage in stages if stage]
