"""Scores of predicted depth (Eigen et al., 2014), from sums over a whole set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)  # top, bottom, left, right of KITTI images, Garg et al. 2016


@dataclass(frozen=True)
class DepthRules:
    """How depth is scored.

    scaling     median: each prediction is multiplied by median(d*) / median(d) of its image; auto = median where depth
                was learned from video, whose scale is unknown, none elsewhere
    crop        garg: the part of a KITTI image that its lidar measures (Garg et al., 2016)
    nearest     metres: true depth nearer than this is left out, predictions are clipped to it
    farthest    likewise
    """

    scaling: Literal["auto", "median", "none"] = "auto"
    crop: Literal["none", "garg"] = "none"
    nearest: float = 1e-3
    farthest: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.nearest < self.farthest < float("inf"):
            raise ValueError(f"depth needs 0 < nearest < farthest metres; got {self.nearest:g} and {self.farthest:g}")


@dataclass(frozen=True)
class DepthScores:
    """Errors over the pixels with true depth d*, predicted d.

    delta1, delta2, delta3   share of pixels with max(d / d*, d* / d) below 1.25, 1.25^2, 1.25^3
    rel                      mean |d - d*| / d*
    sq_rel                   mean (d - d*)^2 / d*, metres
    rmse                     root of the mean (d - d*)^2, metres
    rmse_log                 root of the mean (ln d - ln d*)^2
    log10                    mean |log10 d - log10 d*|
    pixels                   how many
    """

    delta1: float
    delta2: float
    delta3: float
    rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    log10: float
    pixels: int


def mean_scores(images: Sequence[DepthScores]) -> DepthScores:
    """The mean of the images' scores, each image the same weight (KITTI's custom), and the pixels of all of them.

    ValueError: no image.
    """
    if not images:
        raise ValueError("no pixel of any image has true depth within the limits")
    plain = [asdict(each) for each in images]
    means = {each.name: float(np.mean([one[each.name] for one in plain])) for each in fields(DepthScores)}
    return DepthScores(**{**means, "pixels": sum(each.pixels for each in images)})  # type: ignore[arg-type]


class DepthSums:
    """The sums behind the scores, image by image.

    nearest, farthest   metres: true depth outside them is left out, predictions are clipped to them
    median_scaling      each prediction is first multiplied by median(d*) / median(d), as scale is unknown from video
    crop                (top, bottom, left, right) parts of the image that count, None = all of it; see GARG

    After each `add`, `images` holds the image's own scores (None where no pixel counts) and `ratios` its
    median(d*) / median(d): how far the prediction's scale is off, and whether it is off alike in every image.
    """

    def __init__(
        self,
        nearest: float = 1e-3,
        farthest: float = 80.0,
        median_scaling: bool = False,
        crop: tuple[float, float, float, float] | None = None,
    ) -> None:
        self.nearest, self.farthest = nearest, farthest
        self.median_scaling, self.crop = median_scaling, crop
        self._sums, self._pixels = np.zeros(8), 0
        self.images: list[DepthScores | None] = []
        self.ratios: list[float] = []

    def add(self, depth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> None:
        """Count one image: depth and predicted (H, W) metres; 0, negative, NaN and inf depth are no measurement.

        ValueError: shapes that differ, or a prediction that is not positive and finite where there is true depth.
        """
        if depth.shape != predicted.shape:
            raise ValueError(f"depth and prediction must have one shape; got {depth.shape} and {predicted.shape}")
        with np.errstate(invalid="ignore"):
            kept = np.isfinite(depth) & (depth > self.nearest) & (depth < self.farthest) & self._window(depth.shape)
        truth, guess = depth[kept].astype(np.float64), predicted[kept].astype(np.float64)
        if not truth.size:
            self.images.append(None)
            return
        if not (np.isfinite(guess) & (guess > 0)).all():
            raise ValueError("predicted depth must be positive and finite wherever there is true depth")
        self.ratios.append(float(np.median(truth) / np.median(guess)))
        if self.median_scaling:
            guess *= self.ratios[-1]
        sums = self._errors(truth, guess.clip(self.nearest, self.farthest))
        self.images.append(_scores(sums, truth.size))
        self._sums += sums
        self._pixels += truth.size

    @staticmethod
    def _errors(truth: Floats, guess: Floats) -> Floats:
        """The sums over the pixels (n,) behind each score."""
        ratio, error, log = np.maximum(truth / guess, guess / truth), guess - truth, np.log(guess) - np.log(truth)
        sums = [
            *((ratio < 1.25**power).sum() for power in (1, 2, 3)),
            (np.abs(error) / truth).sum(), (error**2 / truth).sum(), (error**2).sum(), (log**2).sum(),
            np.abs(log).sum() / np.log(10),
        ]  # fmt: skip
        return np.array(sums, np.float64)

    def scores(self) -> DepthScores:
        """The scores over all pixels of all images so far; ValueError when no pixel had depth."""
        if not self._pixels:
            raise ValueError("no pixel of any image has true depth within the limits")
        return _scores(self._sums, self._pixels)

    def mean(self) -> DepthScores:
        """`mean_scores` of the images that have depth within the limits."""
        return mean_scores([each for each in self.images if each is not None])

    def _window(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        inside = np.zeros(shape, bool)
        top, bottom, left, right = self.crop or (0.0, 1.0, 0.0, 1.0)
        height, width = shape
        inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
        return inside


def _scores(sums: Floats, pixels: int) -> DepthScores:
    d1, d2, d3, rel, sq_rel, square, square_log, log10 = (float(each) for each in sums / pixels)
    return DepthScores(d1, d2, d3, rel, sq_rel, square**0.5, square_log**0.5, log10, pixels)
