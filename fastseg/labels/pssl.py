"""PSSL: pixel labels from the class of the whole image, by explanations of many classifiers, averaged and ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fastseg.frames import FrameError
from fastseg.labels.pssl_config import PSSLConfig
from fastseg.labels.pssl_gradients import Smoothed, Smoother, is_memory, too_large
from fastseg.labels.pssl_member import Member, check_members, prepared
from fastseg.ops.decile_rank import REFUSED_DECILE, decile_rank, ensemble_deciles

Bytes = npt.NDArray[np.uint8]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class PSSLLabel:
    """What the ensemble says of one image.

    deciles       (size, size) uint8, 0..9 of the mean map's decile ranks
    mean          (size, size) float32 in [0, 1], the mean of the models' normalised maps
    maps          (models, size, size) float32, each model's own map, not normalised; None unless asked for
    samples       noisy copies that each model saw
    changed       share of the deciles that the last look found changed; NaN when nothing was looked at
    probability   of the image's class, mean over models and copies
    right         share of models and copies whose first class is the image's
    """

    deciles: Bytes
    mean: npt.NDArray[np.float32] = field(repr=False)
    maps: npt.NDArray[np.float32] | None = field(repr=False)
    samples: int
    changed: float
    probability: float
    right: float


@dataclass(frozen=True)
class PSSLSum:
    """What some of an ensemble's models say of one image: sums over them, to which the other models' are added.

    total         (size, size) float32, of the normalised maps
    probability   of the image's class, and `right`, see `PSSLLabel`: each model's mean over its copies
    """

    total: npt.NDArray[np.float32] = field(repr=False)
    models: int
    probability: float
    right: float

    def __add__(self, other: PSSLSum) -> PSSLSum:
        """Both together. Added up in the models' order, float32 rounds in one way alone."""
        figures = (self.probability + other.probability, self.right + other.right)
        return PSSLSum(self.total + other.total, self.models + other.models, *figures)

    def label(self, name: str, samples: int) -> PSSLLabel:
        """The label of image `name` once every model is in; FrameError `constant`."""
        mean = self.total / np.float32(self.models)
        if mean.min() == mean.max():
            raise FrameError("constant", f"{name}: every model's map is constant; there is nothing to rank")
        figures = (float("nan"), self.probability / self.models, self.right / self.models)
        return PSSLLabel(decile_rank(mean), mean, None, samples, *figures)


class _Sums:
    """What has been added up of the images still at work: maps (M, B, S, S) and two figures (M, B)."""

    def __init__(self, models: int, images: int, size: int, device: torch.device) -> None:
        self.maps = torch.zeros(models, images, size, size, device=device)
        self.probability = torch.zeros(models, images, device=device)
        self.right = torch.zeros(models, images, device=device)

    def add(self, model: int, images: Tensor, found: Smoothed) -> None:
        size = self.maps.shape[-1]
        maps = found.maps
        if maps.shape[-1] != size:
            options = {"mode": "bilinear", "antialias": maps.shape[-1] > size}
            maps = functional.interpolate(maps[:, None], (size, size), **options)[:, 0]  # type: ignore[arg-type]
        self.maps[model, images] += maps
        self.probability[model, images] += found.probability
        self.right[model, images] += found.right


class Ensemble:
    """Classifiers made ready on a device, and the labels they give; MemoryError for one that does not fit.

    S(x) = 1/M sum_m minmax(S_m(x)),   D(x) = floor(10 Z(x) / N),   Z = pixels of a strictly lower score

    S_m is the SmoothGrad map of `fastseg.labels.pssl_gradients.Smoother`, brought to the label's size. PSSL paper,
    section 3 (equations 1 and 2).
    """

    def __init__(self, members: Sequence[Member], config: PSSLConfig, device: str = "cpu") -> None:
        check_members(members)
        self.config = config
        self.device = torch.device(device)
        self.names = tuple(member.name for member in members)
        self._smoothers = [_smoother(member, config, self.device) for member in members]

    @property
    def image_size(self) -> int:
        """Pixels of a side that pictures need: the label's, or those of the largest input of a model."""
        return max(self.config.size, *(smoother.member.size for smoother in self._smoothers))

    @property
    def batches(self) -> dict[str, int]:
        """Copies that each model takes at most in one pass."""
        return {name: smoother.batch for name, smoother in zip(self.names, self._smoothers, strict=True)}

    def label(
        self, images: Bytes, classes: Sequence[int], names: Sequence[str], keep_maps: bool = False
    ) -> list[PSSLLabel | FrameError]:
        """The label of each image, or the FrameError that rejects it: `constant` (nothing to rank), `nan`.

        images      (B, H, W, 3) uint8 RGB, whole pictures; each model resizes them to its input
        classes     B class numbers
        names       B ids, which the noise follows from
        keep_maps   whether labels carry each model's map
        """
        pixels = self._pixels(images)
        sums = _Sums(len(self.names), len(images), self.config.size, self.device)
        seen, changed = np.zeros(len(images), int), np.full(len(images), np.nan)
        at_work, before = np.arange(len(images)), None
        for copies in self.config.rounds():
            self._add(sums, pixels, classes, names, at_work, copies)
            seen[at_work] = copies.stop
            if not self.config.stop_at:
                break
            now = ensemble_deciles(sums.maps[:, at_work].contiguous(), check=False).deciles
            if before is not None:
                changed[at_work] = (now != before).float().mean((1, 2)).cpu().numpy()
            # A comparison with NaN, before the second look, keeps an image at work.
            on = ~(changed[at_work] <= self.config.stop_at)
            at_work, before = at_work[on], now[torch.from_numpy(on).to(self.device)]
            if not len(at_work):
                break
        return self._labels(sums, names, seen, changed, keep_maps)

    def sums(self, images: Bytes, classes: Sequence[int], names: Sequence[str]) -> list[PSSLSum | FrameError]:
        """As `label`, but what these models add to each image's mean; FrameError `nan`. All copies are made."""
        sums = _Sums(len(self.names), len(images), self.config.size, self.device)
        copies, everyone = range(self.config.samples), np.arange(len(images))
        self._add(sums, self._pixels(images), classes, names, everyone, copies)
        low, high = (each(sums.maps, (2, 3), keepdim=True) for each in (torch.amin, torch.amax))
        unit = torch.where(high > low, (sums.maps - low) / (high - low), 0.0)
        finite = sums.maps.isfinite().all(-1).all(-1).all(0).tolist()
        found: list[PSSLSum | FrameError] = []
        for i, name in enumerate(names):
            if not finite[i]:
                found.append(FrameError("nan", f"{name}: the maps of {self._not_finite(sums, i)} are not finite"))
                continue
            total = np.zeros(unit.shape[2:], np.float32)
            for one in unit[:, i].cpu().numpy():
                total += one
            figures = (float(each[:, i].sum()) / len(copies) for each in (sums.probability, sums.right))
            found.append(PSSLSum(total, len(self.names), *figures))
        return found

    def _pixels(self, images: Bytes) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(self.device)

    def _add(
        self, sums: _Sums, pixels: Tensor, classes: Sequence[int], names: Sequence[str],
        at_work: npt.NDArray[np.int64], copies: range,
    ) -> None:  # fmt: skip
        which = torch.from_numpy(at_work).to(self.device)
        own = [classes[i] for i in at_work]
        called = [names[i] for i in at_work]
        for number, smoother in enumerate(self._smoothers):
            sums.add(number, which, smoother.sums(pixels[which], own, called, copies))

    def _labels(
        self, sums: _Sums, names: Sequence[str], seen: npt.NDArray[np.int64], changed: npt.NDArray[np.float64],
        keep_maps: bool,
    ) -> list[PSSLLabel | FrameError]:  # fmt: skip
        found = ensemble_deciles(sums.maps, check=False)
        deciles, constant, mean = (each.cpu().numpy() for each in found)
        maps = sums.maps.cpu().numpy() if keep_maps else None
        probability, right = (each.double().mean(0).cpu().numpy() for each in (sums.probability, sums.right))
        labels: list[PSSLLabel | FrameError] = []
        for i, name in enumerate(names):
            if constant[i]:
                labels.append(
                    FrameError("constant", f"{name}: every model's map is constant; there is nothing to rank")
                )
            elif deciles[i, 0, 0] == REFUSED_DECILE:
                labels.append(FrameError("nan", f"{name}: the maps of {self._not_finite(sums, i)} are not finite"))
            else:
                own = None if maps is None else (maps[:, i] / seen[i]).astype(np.float32)
                figures = (float(changed[i]), float(probability[i] / seen[i]), float(right[i] / seen[i]))
                labels.append(PSSLLabel(deciles[i], mean[i], own, int(seen[i]), *figures))
        return labels

    def _not_finite(self, sums: _Sums, image: int) -> str:
        good = sums.maps[:, image].isfinite().all(-1).all(-1).tolist()
        return ", ".join(name for name, fine in zip(self.names, good, strict=True) if not fine)


def _smoother(member: Member, config: PSSLConfig, device: torch.device) -> Smoother:
    most = config.most(device.type)
    settings = (config.sigma, config.target, config.seed, config.memory_mb, most, config.compile)
    try:
        return Smoother(prepared(member, str(device), DTYPES[config.precision]), *settings)
    except RuntimeError as error:
        if not is_memory(error):
            raise
        raise MemoryError(too_large(member, device)) from error
