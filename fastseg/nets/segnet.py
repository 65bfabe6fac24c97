"""SegNet (Badrinarayanan et al., 2017): a VGG encoder whose max-pooling indices place the decoder's activations."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.features import Features, Network, before_poolings


class SegNet(Network):
    """Logits (N, classes, H, W) of images (N, 3, H, W) float32; any H, W >= 32.

    encoder      timm's VGG `features` under their own numbers, so published VGG weights load by name
    decoder      the encoder's stages mirrored: unpool by the stage's indices, then as many convolutions
    classifier   the last 3x3 convolution, the mirror of the encoder's first
    """

    def __init__(self, encoder: nn.Sequential, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        for layer in encoder:
            if isinstance(layer, nn.MaxPool2d):
                layer.return_indices = True
        widths = [_widths(stage) for stage in self.stages()]
        stages = [_mirror(each, classifier=index == 0) for index, each in enumerate(widths)]
        self.decoder = nn.ModuleList(reversed(stages))
        self.classifier = nn.Conv2d(widths[0][1], classes, 3, padding=1)
        _msra(self.decoder)
        _msra(self.classifier)

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's convolution blocks, conv1 to conv5, each without its pooling."""
        return before_poolings(self.encoder)

    def features(self, images: Tensor) -> Features:
        maps, x = self.read(images)
        return Features(maps, x, self.classifier(x))

    def read(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The maps after each pooling, and the decoder's last one, of the images' size."""
        x = images
        maps: list[Tensor] = []
        pooled: list[tuple[Tensor, torch.Size]] = []
        for layer in self.encoder:
            if not isinstance(layer, nn.MaxPool2d):
                x = layer(x)
                continue
            size = x.shape[-2:]
            x, indices = layer(x)
            pooled.append((indices, size))
            maps.append(x)
        for block in self.decoder:
            indices, size = pooled.pop()
            x = block(_unpooled(x, indices, size))
        return tuple(maps), x


def _unpooled(x: Tensor, indices: Tensor, size: torch.Size) -> Tensor:
    """`x` where the pooling's maxima were, zero elsewhere.

    In deterministic mode torch refuses max_unpool2d, since indices could repeat; those of windows side by side do not.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return functional.max_unpool2d(x, indices, [2, 2], [2, 2], output_size=list(size))
    flat = x.new_zeros(*x.shape[:2], size.numel()).scatter(2, indices.flatten(2), x.flatten(2))
    return flat.reshape(*x.shape[:2], *size)


def _widths(stage: list[nn.Module]) -> list[int]:
    """Channels through a stage: its input's, then each convolution's output's."""
    convolutions = [layer for layer in stage if isinstance(layer, nn.Conv2d)]
    return [convolutions[0].in_channels] + [layer.out_channels for layer in convolutions]


def _mirror(widths: list[int], classifier: bool) -> nn.Sequential:
    """The decoder's half of one stage; the first stage leaves its last convolution to the classifier."""
    pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
    return nn.Sequential(*(layer for pair in (pairs[:-1] if classifier else pairs) for layer in _convolution(*pair)))


def _convolution(width_in: int, width_out: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(width_in, width_out, 3, padding=1, bias=False)
    yield nn.BatchNorm2d(width_out)
    yield nn.ReLU(inplace=True)


def _msra(module: nn.Module) -> None:
    """He et al. (2015): convolution weights normal with variance 2 / fan-in, biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def segnet(encoder: str, classes: int) -> SegNet:
    """A SegNet over a timm VGG (`vgg16_bn` is the paper's), He-initialised.

    ValueError: the encoder is not one of timm's VGGs.
    """
    import timm

    if not encoder.startswith("vgg") or encoder not in timm.list_models("vgg*"):
        names = ", ".join(timm.list_models("vgg*"))
        raise ValueError(f"segnet needs a VGG encoder, one of {names}; got {encoder}")
    # The classifier of VGG is not used: mlp_ratio keeps its 100 million weights from being drawn.
    vgg = timm.create_model(encoder, pretrained=False, num_classes=0, mlp_ratio=1 / 4096)
    features = vgg.features
    assert isinstance(features, nn.Sequential)
    _msra(features)
    return SegNet(features, classes)
