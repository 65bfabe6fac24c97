"""An encoder that names whole images: what classification pre-training trains of a segmentation network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastseg.nets.features import Features, Network


class Classifier(Network):
    """Logits (N, classes) of images (N, 3, H, W): the mean over the pixels of the encoder's last map, then one layer.

        logits = W mean_p f(p) + b

    encoder     a segmentation network's own, under the same names, so that its weights go back by name
    parts       its convolution blocks, as `blocks` names them
    width       channels of the last map; of an HRNet, which keeps its resolutions side by side, of all its branches
    """

    def __init__(self, encoder: nn.Module, parts: list[list[nn.Module]], width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self._parts = encoder, parts
        self.classifier = nn.Linear(width, classes)
        nn.init.normal_(self.classifier.weight, std=width**-0.5)
        nn.init.zeros_(self.classifier.bias)

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's convolution blocks from the image on, each a list of modules in order."""
        return self._parts

    def features(self, images: Tensor) -> Features:
        """`penultimate` (N, width) and `logits` (N, classes) are of the whole image."""
        maps = encoder_maps(self.encoder, images)
        pooled = torch.cat([each.mean((2, 3)) for each in read(self.encoder, maps)], 1)
        return Features(maps, pooled, self.classifier(pooled))


def encoder_maps(encoder: Any, images: Tensor) -> tuple[Tensor, ...]:
    """What an encoder gives its decoder, finest first; of a plain sequence of layers, what comes out at its end."""
    if isinstance(encoder, nn.Sequential):
        x = images
        for layer in encoder:
            found = layer(x)
            x = found[0] if isinstance(found, tuple) else found  # a pooling that gives its indices too
        return (x,)
    found = encoder(images)
    return tuple(found[0] if isinstance(found, tuple) else found)  # DPT's gives class tokens as well


def read(encoder: Any, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The maps that the classifier reads: the last one, or all branches of an HRNet."""
    return maps[-4:] if hasattr(getattr(encoder, "model", encoder), "stage4") else maps[-1:]


def classifier(net: nn.Module, parts: list[list[nn.Module]], classes: int) -> Classifier:
    """A classifier over the encoder of a segmentation network, whose decoder is left out.

    ValueError: a network without an encoder of its own.
    """
    encoder = getattr(net, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"{type(net).__name__} has no encoder of its own to train on whole images")
    training = encoder.training
    with torch.no_grad():
        encoder.eval()
        maps = read(encoder, encoder_maps(encoder, torch.zeros(1, 3, 64, 64)))
    encoder.train(training)
    return Classifier(encoder, parts, sum(each.shape[1] for each in maps), classes)
