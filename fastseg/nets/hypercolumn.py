"""Hypercolumn networks (Hariharan et al., 2015): every pixel's label is read from all of the encoder's maps at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.features import Features, Network

DENSENET67_BLOCKS, DENSENET67_GROWTH = (6, 8, 9, 8), 48
READ = 8  # stride of the hypercolumn where it is made, for another head: whole it would have 64 times the pixels


class Hypercolumn(Network):
    """Logits (N, classes, H, W) of images (N, 3, H, W): a 1x1 classifier on the upsampled, concatenated maps.

    A 1x1 convolution and bilinear upsampling commute, and a convolution of a concatenation is the sum of convolutions:
        W [up(f_1); ...; up(f_n)] + b = sum_i up(W_i f_i) + b
    so each map is classified at its own size and only logits are upsampled; the concatenation, 1,472 channels at full
    resolution for VGG-16, is never made.

    encoder      timm's `features` under their own names, so published weights load by name
    taps         names of the encoder's children after which a map is taken
    widths       channels of those maps
    normalise    maps are brought to zero mean and unit variance first (batch statistics), as for pre-trained weights
    """

    def __init__(
        self, encoder: nn.Sequential, taps: tuple[str, ...], widths: tuple[int, ...], classes: int, normalise: bool
    ) -> None:
        super().__init__()
        self.encoder, self.taps = encoder, taps
        norms = [nn.BatchNorm2d(width, affine=False) if normalise else nn.Identity() for width in widths]
        self.norms = nn.ModuleList(norms)
        parts = [nn.Conv2d(width, classes, 1, bias=index == 0) for index, width in enumerate(widths)]
        self.classifier = nn.ModuleList(parts)
        fan_in = sum(widths)  # of the one classifier that the parts are
        for part in parts:
            nn.init.normal_(part.weight, std=fan_in**-0.5)
        assert parts[0].bias is not None, "the first part carries the bias"
        nn.init.zeros_(parts[0].bias)

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's convolution blocks from the image on, each up to a tap."""
        stages: list[list[nn.Module]] = [[]]
        for name, layer in self.encoder.named_children():
            stages[-1].append(layer)
            if name in self.taps:
                stages.append([])
        return [stage for stage in stages[: len(self.taps)] if stage]

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The hypercolumn's maps (N, C_i, H_i, W_i), normalised where the network does so, finest first."""
        found: list[Tensor] = []
        x = images
        for name, layer in self.encoder.named_children():
            x = layer(x)
            if name in self.taps:
                found.append(self.norms[len(found)](x))
            if len(found) == len(self.taps):
                break
        return tuple(found)

    def features(self, images: Tensor) -> Features:
        maps = self.maps(images)
        size = list(images.shape[-2:])
        scores = [part(each) for part, each in zip(self.classifier, maps, strict=True)]
        grown = [functional.interpolate(score, size, mode="bilinear", align_corners=False) for score in scores]
        return Features(maps, maps[-1], torch.stack(grown).sum(0))

    def read(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The maps, and the hypercolumn at a stride of 8."""
        maps, size = self.maps(images), [-(-side // READ) for side in images.shape[-2:]]
        sized = [functional.interpolate(each, size, mode="bilinear", antialias=True) for each in maps]
        return maps, torch.cat(sized, 1)


def hypercolumn(encoder: str, classes: int, normalise: bool = True) -> Hypercolumn:
    """A hypercolumn network over a timm VGG (`vgg16_bn`), DenseNet (`densenet121`), or `densenet67`.

    VGG: the last map before each pooling (64, 128, 256, 512, 512 channels). DenseNet: the stem and each dense block.
    `densenet67` is the paper's own (growth 48); its table of blocks is lost, (6, 8, 9, 8) gives its 67 layers.

    ValueError: another encoder.
    """
    import timm
    from timm.models.densenet import DenseNet

    known = [*timm.list_models("vgg*"), *timm.list_models("densenet*"), "densenet67"]
    if encoder not in known:
        raise ValueError(f"hypercolumn goes over a VGG or a DenseNet, one of {', '.join(known)}; got {encoder}")
    if encoder.startswith("vgg"):
        vgg: Any = timm.create_model(encoder, num_classes=0, mlp_ratio=1 / 4096)
        return _over_vgg(vgg.features, classes, normalise)
    if encoder == "densenet67":
        net: Any = DenseNet(DENSENET67_GROWTH, DENSENET67_BLOCKS, num_classes=0)
    else:
        net = timm.create_model(encoder, num_classes=0)
    return _over_densenet(net.features, classes, normalise)


def _over_vgg(layers: nn.Sequential, classes: int, normalise: bool) -> Hypercolumn:
    """Taps before each pooling; the last pooling is left unused."""
    children = list(layers.named_children())
    pools = [index for index, (_, layer) in enumerate(children) if isinstance(layer, nn.MaxPool2d)]
    taps = tuple(children[index - 1][0] for index in pools)
    convolutions = [[m for _, m in children[:end] if isinstance(m, nn.Conv2d)][-1] for end in pools]
    return Hypercolumn(layers, taps, tuple(each.out_channels for each in convolutions), classes, normalise)


def _over_densenet(layers: nn.Sequential, classes: int, normalise: bool) -> Hypercolumn:
    """Taps after the stem's activation (before its pooling) and after each dense block."""
    blocks = [name for name, _ in layers.named_children() if name.startswith("denseblock")]
    taps = ("norm0", *blocks)
    with torch.no_grad():
        widths, x = [], torch.zeros(1, 3, 64, 64)
        training = layers.training
        layers.eval()
        for name, layer in layers.named_children():
            x = layer(x)
            if name in taps:
                widths.append(x.shape[1])
        layers.train(training)
    return Hypercolumn(layers, taps, tuple(widths), classes, normalise)
