"""OCRNet (Yuan et al., 2020): a pixel is described by the object regions it belongs to, over HRNet."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.features import Features, Network

MIDDLE, KEY, DROPOUT = 512, 256, 0.05


class ObjectContext(nn.Module):
    """Pixels x (N, C, h, w) and region scores m (N, K, h, w) -> context y (N, C, h, w).

    f_k = sum_i softmax_i(m_ki) x_i                     the K regions (equation 3)
    w_ik = softmax_k(phi(x_i) . psi(f_k) / sqrt(KEY))   a pixel's share in each (equation 5)
    y_i = rho(sum_k w_ik delta(f_k))                    (equation 4)
    """

    def __init__(self, width: int, key: int) -> None:
        super().__init__()
        self.scale = key**-0.5
        self.phi = nn.Sequential(*_unit(width, key, 1), *_unit(key, key, 1))
        self.psi = nn.Sequential(*_unit(width, key, 1), *_unit(key, key, 1))
        self.delta = nn.Sequential(*_unit(width, key, 1))
        self.rho = nn.Sequential(*_unit(key, width, 1))

    def forward(self, x: Tensor, scores: Tensor) -> Tensor:
        share = scores.flatten(2).softmax(2)
        regions = torch.einsum("nki,nci->nck", share, x.flatten(2))[..., None]
        query, keys = self.phi(x).flatten(2), self.psi(regions).flatten(2)
        weight = (torch.einsum("nci,nck->nik", query, keys) * self.scale).softmax(2)
        mixed = torch.einsum("nik,nck->nci", weight, self.delta(regions).flatten(2))
        context: Tensor = self.rho(mixed.reshape(*mixed.shape[:2], *x.shape[-2:]))
        return context


class OCRNet(Network):
    """Logits (N, classes, H, W) of images (N, 3, H, W); `auxiliary` are the region scores, trained with weight 0.4.

    encoder      timm's HRNet: its branches at strides 4 to 32 are upsampled to stride 4 and concatenated
    """

    classifiers: ClassVar[tuple[str, ...]] = ("classifier.", "regions.3.")

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.regions = nn.Sequential(*_unit(width, width, 1), nn.Conv2d(width, classes, 1))
        self.pixels = nn.Sequential(*_unit(width, MIDDLE, 3))
        self.context = ObjectContext(MIDDLE, KEY)
        self.joined = nn.Sequential(*_unit(2 * MIDDLE, MIDDLE, 1), nn.Dropout2d(DROPOUT))
        self.classifier = nn.Conv2d(MIDDLE, classes, 1)

    def stages(self) -> list[list[nn.Module]]:
        """The stem, layer1, and stage 2 to 4, each with the transition before it."""
        return hrnet_stages(self.encoder)

    def features(self, images: Tensor) -> Features:
        maps, scores, last = self._read(images)
        return Features(maps, last, _resized(self.classifier(last), images), _resized(scores, images))

    def read(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The encoder's maps, and pixels with their context (N, 512, H / 4, W / 4)."""
        maps, _, last = self._read(images)
        return maps, last

    def _read(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        maps = self.encoder(images)
        branches = maps[1:]  # the stem comes first
        grown = [_resized(branch, branches[0]) for branch in branches]
        wide = torch.cat(grown, 1)
        scores, x = self.regions(wide), self.pixels(wide)
        return tuple(maps), scores, self.joined(torch.cat([self.context(x, scores), x], 1))


def hrnet_stages(encoder: nn.Module) -> list[list[nn.Module]]:
    """The convolution blocks of one of timm's HRNets in order."""
    stages: list[list[nn.Module]] = [[]]
    for name, layer in encoder.named_children():
        stages[-1].append(layer)
        if name in ("act2", "layer1", "stage2", "stage3", "stage4"):
            stages.append([])
    return [stage for stage in stages[:5] if stage]


def _unit(width_in: int, width_out: int, kernel: int) -> list[nn.Module]:
    convolution = nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2, bias=False)
    # One region vector a class leaves 1x1 maps: batch statistics still see N x K values.
    return [convolution, nn.BatchNorm2d(width_out), nn.ReLU(inplace=True)]


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, list(like.shape[-2:]), mode="bilinear", align_corners=False)


def ocrnet(encoder: str, classes: int) -> OCRNet:
    """An OCRNet over one of timm's HRNets (`hrnet_w18` is the paper's).

    ValueError: another encoder.
    """
    import timm

    if encoder not in timm.list_models("hrnet*"):
        raise ValueError(
            f"ocrnet needs an HRNet encoder, one of {', '.join(timm.list_models('hrnet*'))}; got {encoder}"
        )
    # feature_location "": the branches themselves (18, 36, 72, 144 channels), not timm's widened ones
    body: Any = timm.create_model(encoder, features_only=True, feature_location="")
    return OCRNet(body, sum(body.feature_info.channels()[1:]), classes)
