"""What training alone computes: a branch from a network's maps through a part of a label autoencoder.

Label-structure paper, section 3.3. A branch reads the network's features and is left out at inference: it is the
network's `regulariser`, which no `forward` touches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.features import Features
from fastseg.nets.label_autoencoder import CELL, LabelDecoder, LabelEncoder, bottleneck_size


class DecoderBranch(nn.Module):
    """The labels once more, logits (N, classes, H, W), through a label decoder: decoder(W f + b), f one of the maps.

    project   the new 1x1 convolution W, b
    decoder   learns only where `learns`; its gradient still reaches f
    before    SHA-256 of what rests, None where nothing does
    """

    def __init__(self, decoder: LabelDecoder, tap: str, width: int, learns: bool) -> None:
        super().__init__()
        self.tap, self.project = tap, nn.Conv2d(width, decoder.widths[-1], 1)
        self.decoder = decoder.requires_grad_(learns)
        self.before = None if learns else digest_of(decoder)

    @property
    def resting(self) -> nn.Module | None:
        """The part whose weights must stay as they were."""
        return None if self.before is None else self.decoder

    def bottleneck(self, found: Features, size: tuple[int, int]) -> Tensor:
        """What the decoder is given, (N, w_5, h, w), for the features of images padded to `size`."""
        tap = taps(found)[self.tap]
        return fitted(self.project, tap, tap.shape[-2:] if matching(tap, size) else bottleneck_size(size))

    def forward(self, found: Features, size: tuple[int, int]) -> Tensor:
        """Logits at `size`, that of the padded images."""
        logits: Tensor = self.decoder(self.bottleneck(found, size))
        if logits.shape[-2:] == size:
            return logits
        return functional.interpolate(logits, list(size), mode="bilinear", align_corners=False)


class EncoderBranch(nn.Module):
    """The label encoder's conv1 and conv3 activations, told from the network's hypercolumn at the same place.

    project   1x1 convolutions, one for each map and target: of a concatenation a convolution is the sum of those of its
              parts, and it commutes with upsampling, so that the hypercolumn is never made (see Hypercolumn)
    encoder   rests; conv1 is compared at the labels' resolution and conv3 at a quarter of it, which are their own
    """

    def __init__(self, encoder: LabelEncoder, names: Sequence[str], widths: Sequence[int]) -> None:
        super().__init__()
        self.taps = tuple(names)
        wanted = (encoder.widths[0], encoder.widths[2])
        self.project = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, each, 1, bias=index == 0) for index, width in enumerate(widths))
            for each in wanted
        )
        self.encoder = encoder.requires_grad_(False)
        self.before = digest_of(encoder)

    @property
    def resting(self) -> nn.Module:
        """The part whose weights must stay as they were."""
        return self.encoder

    def forward(self, found: Features, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(predicted, target) of conv1 and of conv3, (N, C, H, W) and (N, C, H/4, W/4) rounded up.

        labels   (N, H, W) integer, as large as the padded images
        """
        offered, (height, width) = taps(found), labels.shape[-2:]
        with torch.no_grad():
            encoded = self.encoder(labels)
        coarse = encoded.conv3[..., : -(-height // 4), : -(-width // 4)]  # without what pads labels to sixteens
        pairs = []
        for parts, target in zip(self.project, (encoded.conv1[..., :height, :width], coarse), strict=True):
            assert isinstance(parts, nn.ModuleList)
            told = [fitted(part, offered[name], target.shape[-2:]) for part, name in zip(parts, self.taps, strict=True)]
            pairs.append((torch.stack(told).sum(0), target))
        return pairs


Branch = DecoderBranch | EncoderBranch


def fitted(project: nn.Module, x: Tensor, size: Sequence[int]) -> Tensor:
    """A 1x1 convolution of x (N, C, h, w) at `size`: of larger maps the mean first, of smaller ones grown after."""
    factors = [max(1, have // want) for have, want in zip(x.shape[-2:], size, strict=True)]
    found: Tensor = project(functional.avg_pool2d(x, factors) if max(factors) > 1 else x)
    if list(found.shape[-2:]) == list(size):
        return found
    return functional.interpolate(found, list(size), mode="bilinear", align_corners=False)


def taps(found: Features) -> dict[str, Tensor]:
    """A network's maps by the names that `regulariser.tap` takes: encoder.1 is the finest, penultimate the last.

    Maps without channels, which stand for resolutions that an encoder skips, are none.
    """
    maps = {f"encoder.{number}": each for number, each in enumerate((x for x in found.encoder if x.shape[1]), 1)}
    return {**maps, "penultimate": found.penultimate}


def matching(tap: Tensor, size: Sequence[int]) -> bool:
    """Whether a map (N, C, h, w) of images of `size` has a bottleneck's resolution, rounded up or down."""
    return all(abs(have * CELL - side) < CELL for have, side in zip(tap.shape[-2:], size, strict=True))


def digest_of(module: nn.Module) -> str:
    """The SHA-256 (hex) of a module's parameters and buffers, by name."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
