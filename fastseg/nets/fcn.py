"""FCN-8s (Long et al., 2015): VGG's fully connected layers as convolutions, scores of three depths added up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.features import Features, Network, before_poolings


class FCN(Network):
    """Logits (N, classes, H, W) of images (N, 3, H, W), sides at least 32.

    encoder      timm's VGG `features` under their own numbers
    bottom       conv6 (7x7) and conv7 (1x1) with dropout, `width` channels (4096 in the paper)
    classifier   1x1 scores of pool3, pool4 and conv7: up2(s_7) + s_4, then up2 of that + s_3, then up8
    """

    def __init__(self, encoder: nn.Sequential, classes: int, width: int = 4096, dropout: float = 0.5) -> None:
        super().__init__()
        self.encoder = encoder
        convolutions = [[m for m in stage if isinstance(m, nn.Conv2d)] for stage in before_poolings(encoder)]
        widths = [stage[-1].out_channels for stage in convolutions]
        layers = [nn.Conv2d(widths[4], width, 7, padding=3), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.bottom = nn.Sequential(*layers, nn.Conv2d(width, width, 1), nn.ReLU(inplace=True), nn.Dropout(dropout))
        self.classifier = nn.ModuleList(nn.Conv2d(each, classes, 1) for each in (widths[2], widths[3], width))
        for layer in self.bottom:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's convolution blocks, conv1 to conv5, each without its pooling."""
        return before_poolings(self.encoder)

    def features(self, images: Tensor) -> Features:
        pooled, last = self._maps(images)
        shallow, middle, deep = (
            part(each) for part, each in zip(self.classifier, (pooled[2], pooled[3], last), strict=True)
        )
        joined = _grown(_grown(deep, middle) + middle, shallow) + shallow
        return Features(tuple(pooled), last, _grown(joined, images))

    def read(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The maps after each pooling, and pool3, pool4 and conv7 side by side at the size of pool3."""
        pooled, last = self._maps(images)
        return tuple(pooled), torch.cat([pooled[2], *(_grown(each, pooled[2]) for each in (pooled[3], last))], 1)

    def _maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps after each pooling, and conv7's."""
        pooled, x = [], images
        for layer in self.encoder:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        return pooled, self.bottom(x)


def _grown(scores: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(scores, list(like.shape[-2:]), mode="bilinear", align_corners=False)


def fcn(encoder: str, classes: int) -> FCN:
    """An FCN-8s over a timm VGG (`vgg16` is the paper's).

    ValueError: the encoder is not one of timm's VGGs.
    """
    import timm

    if encoder not in timm.list_models("vgg*"):
        raise ValueError(f"fcn needs a VGG encoder, one of {', '.join(timm.list_models('vgg*'))}; got {encoder}")
    vgg: Any = timm.create_model(encoder, num_classes=0, mlp_ratio=1 / 4096)
    return FCN(vgg.features, classes)
