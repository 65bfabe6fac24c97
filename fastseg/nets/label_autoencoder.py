"""The autoencoder of label maps (label-structure paper, section 3.1): five convolutions down to a bottleneck, and back.

No images enter it: it learns which shapes labels have, and which stand beside which.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.published import unknown

WIDTHS: dict[str, tuple[int, ...]] = {  # channels of conv1 to conv5, by those of the bottleneck
    "32": (32, 32, 32, 32, 32),
    "128": (32, 128, 128, 128, 128),
    "256": (32, 128, 128, 128, 256),
}
CELL = 16  # pixels a side for one of the bottleneck


class Encoded(NamedTuple):
    """Activations of the label encoder for labels (N, H, W), sides padded to multiples of 16.

    conv1        (N, w_1, H, W)
    conv3        (N, w_3, H/4, W/4)
    bottleneck   (N, w_5, H/16, W/16)
    """

    conv1: Tensor
    conv3: Tensor
    bottleneck: Tensor


class LabelEncoder(nn.Module):
    """3x3 convolutions with ReLU, conv1 to conv5, 2x2 max-pooling between them, of labels (N, H, W) integer.

    classes   a value that is no class is void: none of its one-hot channels is set; so is what pads the map at the
              right and bottom
    """

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.widths, self.classes = widths, classes
        pairs = zip((classes, *widths), widths, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)

    def forward(self, labels: Tensor) -> Encoded:
        height, width = labels.shape[-2:]
        hot = functional.pad(one_hot(labels, self.classes), (0, -width % CELL, 0, -height % CELL))
        maps: list[Tensor] = []
        for convolution in self.convolutions:
            x = functional.max_pool2d(maps[-1], 2) if maps else hot
            maps.append(functional.relu(convolution(x)))
        return Encoded(maps[0], maps[2], maps[4])


class LabelDecoder(nn.Module):
    """The encoder mirrored: a 3x3 convolution of the bottleneck, then four times 2x upsampling and one; no skips.

    The last one gives the logits (N, classes, 16 h, 16 w) of a bottleneck (N, w_5, h, w); ReLU between them.
    """

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.widths = widths
        pairs = zip(widths[::-1], (*widths[-2::-1], classes), strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)

    def forward(self, bottleneck: Tensor) -> Tensor:
        x = bottleneck
        for index, convolution in enumerate(self.convolutions):
            x = convolution(functional.interpolate(functional.relu(x), scale_factor=2.0) if index else x)
        return x


class LabelAutoencoder(nn.Module):
    """Logits (N, classes, H, W) of label maps, which come as every network's images do.

    encoder, decoder   see LabelEncoder, LabelDecoder
    """

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = LabelEncoder(widths, classes), LabelDecoder(widths, classes)
        self.classes = classes
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None, "every convolution here has one"
                nn.init.zeros_(layer.bias)

    def reconstructed(self, labels: Tensor) -> Tensor:
        """Logits (N, classes, H, W) of labels (N, H, W) integer."""
        found: Tensor = self.decoder(self.encoder(labels).bottleneck)
        return found[..., : labels.shape[-2], : labels.shape[-1]]

    def forward(self, images: Tensor) -> Tensor:
        """images (N, 3, H, W) float: the label map three times, see `fastseg.data.label_maps.LabelPictures`."""
        return self.reconstructed(images[:, 0].round().long())


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(N, classes, H, W) float32 of labels (N, H, W) integer, channels last in memory; void pixels are all zero."""
    inside = (labels >= 0) & (labels < classes)
    hot = functional.one_hot(labels.long().where(inside, 0), classes).float() * inside[..., None]
    return hot.permute(0, 3, 1, 2)


def label_autoencoder(widths: str, classes: int) -> LabelAutoencoder:
    """A label autoencoder by the channels of its bottleneck; ValueError for others than 32, 128 and 256."""
    if widths not in WIDTHS:
        raise ValueError(unknown("label autoencoder", widths, list(WIDTHS)))
    return LabelAutoencoder(WIDTHS[widths], classes)


def bottleneck_size(size: tuple[int, ...]) -> tuple[int, int]:
    """(h, w) of the bottleneck of label maps (H, W)."""
    return -(-size[-2] // CELL), -(-size[-1] // CELL)


@torch.no_grad()
def cleaned(net: LabelAutoencoder, labels: Tensor, size: tuple[int, int], doubt: float, void: bool = False) -> Tensor:
    """Labels (N, H, W) uint8 without those that the autoencoder gives a probability below `doubt`.

    labels   (N, H, W) uint8, 255 = void, which stays
    size     (h, w) that the autoencoder knows; labels are seen at it, and its logits grown to the labels' own
    void     a doubted label becomes 255; else the likeliest class
    """
    seen = functional.interpolate(labels[:, None].float(), list(size), mode="nearest-exact")[:, 0]
    logits = net.reconstructed(seen.to(torch.uint8))
    likely = functional.interpolate(logits, list(labels.shape[-2:]), mode="bilinear", align_corners=False).softmax(1)
    given = likely.gather(1, labels.long().clamp_max(net.classes - 1)[:, None])[:, 0]
    doubted = (labels < net.classes) & (given < doubt)
    other = torch.full_like(labels, 255) if void else likely.argmax(1).to(torch.uint8)
    return other.where(doubted, labels)
