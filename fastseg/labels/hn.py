"""A frame's height/normal label, or the reason why it has none (HN-labels paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera, Frame, FrameError, FrameSource
from fastseg.ops import hn_labels as op
from fastseg.ops.normals import Estimator

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HNConfig:
    """How a label is made; the defaults are the paper's, or measured where CHANGELOG says so.

    n_height              height bins
    n_normal              bins of the angle to up; 1 makes height-only labels
    max_height_m          uniform height bins cover [0, max_height_m], the last is open upward
    height_edges          n_height - 1 inner edges in metres instead of uniform ones
    estimator             of normals: plane or pca
    gravity               floor_wall or manhattan
    radius                of the window of the label's normals, pixels
    gravity_radius        of the window of gravity's normals, pixels
    stride                gravity looks at every stride-th row and column
    max_residual          a window that leaves its plane by an rms dz above max_residual z^2 + 2 mm has no normal: it
                          spans an edge (1/m)
    percentile            of the heights: the floor
    min_valid             a frame with less of its pixels measured is rejected
    min_aligned           a frame is rejected when less of the points at or below the floor look up
    aligned_deg           how near to up looks up, degrees
    max_disagreement_deg  a frame is rejected when the two gravity estimators differ by more
    """

    n_height: int = 10
    n_normal: int = 2
    max_height_m: float = 2.5
    height_edges: tuple[float, ...] | None = None
    estimator: Estimator = "plane"
    gravity: op.Gravity = "floor_wall"
    radius: int = 5
    gravity_radius: int = 10
    stride: int = 4
    max_residual: float = 0.003
    percentile: float = 1.0
    min_valid: float = 0.1
    min_aligned: float = 0.8
    aligned_deg: float = 30.0
    max_disagreement_deg: float = 10.0

    def __post_init__(self) -> None:
        if self.n_height < 1 or self.n_normal < 1 or self.n_height * self.n_normal > op.IGNORE:
            raise ValueError(
                f"n_height and n_normal must be at least 1 and their product at most {op.IGNORE}; "
                f"got {self.n_height} and {self.n_normal}"
            )
        if not self.max_height_m > 0:
            raise ValueError(f"max_height_m must be above 0; got {self.max_height_m}")
        if self.height_edges is not None and len(self.height_edges) != self.n_height - 1:
            raise ValueError(
                f"height_edges must hold n_height - 1 = {self.n_height - 1} edges; got {len(self.height_edges)}"
            )

    @property
    def edges_m(self) -> tuple[float, ...]:
        """The inner height edges in metres, given or uniform."""
        return self.height_edges or op.uniform_edges(self.n_height, self.max_height_m)


@dataclass(frozen=True)
class HNLabel:
    """One accepted frame's label and what it rests on.

    label             (H, W) uint8, normal_bin * n_height + height_bin, 255 = ignore
    up                (3,) float32, unit, camera frame; up . p = floor_m on the floor
    floor_m           metres
    aligned_fraction  of the points at or below the floor that have a normal, the part that looks up
    valid_fraction    of the pixels, the part with depth
    disagreement_deg  angle between the two gravity estimators
    histogram         (n_normal * n_height,) int32 pixels of each label
    height_edges      (n_height - 1,) float32 metres; normal_edges_deg (n_normal - 1,) float32 degrees
    """

    label: npt.NDArray[np.uint8]
    up: Float
    floor_m: float
    aligned_fraction: float
    valid_fraction: float
    disagreement_deg: float
    histogram: npt.NDArray[np.int32]
    height_edges: Float
    normal_edges_deg: Float


def label_frame(frame: Frame, config: HNConfig) -> HNLabel:
    """The HN-label of a frame.

    Raises FrameError with reason `no-depth` (value: the valid part), `gravity` (value: degrees between the estimators,
    NaN when none was found) or `no-floor` (value: the aligned part). Raises TypeError or ValueError for depth of
    another type or size than its camera's.
    """
    return judged(_alone(frame, config), 0, config)


def estimate_frame(frame: Frame, config: HNConfig) -> tuple[Float, Float]:
    """Up (3,) and the figures (4,) named by `op.FIGURES` that a frame finds alone, also where its floor is out of view.

    Raises FrameError `no-depth`; what else the figures are worth is the caller's to judge.
    """
    made = _alone(frame, config)
    if op.VERDICTS[int(made.verdict[0])] == "no-depth":
        judged(made, 0, config)
    return made.up[0], made.figures[0]


def label_given(frame: Frame, config: HNConfig, up: npt.NDArray[Any], floor_m: float) -> HNLabel:
    """The HN-label of a frame whose up (3,) and floor (up . p = floor_m on it) are known, from a consensus of frames.

    disagreement_deg is NaN, as no gravity is estimated. Raises FrameError `no-depth`; TypeError or ValueError as
    `label_frame`.
    """
    names = ("n_normal", "estimator", "radius", "max_residual", "min_valid", "aligned_deg")
    made = op.hn_labels_given(
        np.ascontiguousarray(frame.depth), frame.camera, up, floor_m, depth_scale=frame.depth_scale,
        height_edges=config.edges_m, **{name: getattr(config, name) for name in names},
    )  # fmt: skip
    return judged(made, 0, config)


def judged(made: op.HNLabels, index: int, config: HNConfig) -> HNLabel:
    """The label of one frame of the op's batch (numpy arrays); FrameError, as `label_frame`, when it is rejected."""
    figures = dict(zip(op.FIGURES, (float(f) for f in made.figures[index]), strict=True))
    _judge(op.VERDICTS[int(made.verdict[index])], figures, config)
    return HNLabel(
        label=made.label[index],
        up=made.up[index],
        histogram=made.histogram[index],
        height_edges=np.asarray(config.edges_m, np.float32),
        normal_edges_deg=np.asarray(op.normal_edges_deg(config.n_normal), np.float32),
        **figures,
    )


def check(config: HNConfig) -> None:
    """None; ValueError names a setting that no frame could be labelled with, before a run meets it in every frame."""
    camera = Camera(1.0, 1.0, 0.0, 0.0, 1, 1)
    op.hn_labels(np.zeros((1, 1), np.float32), camera, **arguments(config))


def arguments(config: HNConfig) -> dict[str, Any]:
    """The settings as keyword arguments of `fastseg.ops.hn_labels.hn_labels`."""
    names = (
        "n_normal", "estimator", "gravity", "radius", "gravity_radius", "stride", "max_residual", "percentile",
        "min_valid", "min_aligned", "aligned_deg", "max_disagreement_deg",
    )  # fmt: skip
    return {name: getattr(config, name) for name in names} | {"height_edges": config.edges_m}


def _alone(frame: Frame, config: HNConfig) -> op.HNLabels:
    return op.hn_labels(
        np.ascontiguousarray(frame.depth), frame.camera, depth_scale=frame.depth_scale, prior=frame.up_prior,
        **arguments(config),
    )  # fmt: skip


def _judge(verdict: str, figures: dict[str, float], config: HNConfig) -> None:
    """Raises FrameError when the verdict is a rejection."""
    valid, aligned, apart = (figures[k] for k in ("valid_fraction", "aligned_fraction", "disagreement_deg"))
    if verdict == "no-depth":
        raise FrameError(
            verdict, f"{valid:.1%} of the pixels have depth; expected {config.min_valid:.0%} at least", valid
        )
    if verdict == "gravity":
        found = f"the two gravity estimators differ by {apart:.1f} degrees; expected {config.max_disagreement_deg:g}"
        none = "no direction of gravity was found in the normals; expected walls and floors in view"
        raise FrameError(verdict, none if np.isnan(apart) else f"{found} at most", apart)
    if verdict == "no-floor":
        raise FrameError(
            verdict,
            f"{aligned:.0%} of the lowest points look up; expected {config.min_aligned:.0%} at least: "
            "the floor is not in view",
            aligned,
        )


def quantile_edges(
    source: FrameSource, ids: Sequence[str], config: HNConfig, seed: int, frames: int = 200
) -> tuple[float, ...]:
    """The n_height - 1 inner edges (metres) that put equal parts of a sample's labelled pixels into each height bin.

    The sample is `frames` of the ids, drawn by `seed`; frames that are rejected do not count. Heights are counted in
    bins of 1 cm from 0 to 5 m. Raises ValueError when no frame of the sample has a label, or when the heights are too
    alike for n_height distinct edges.
    """
    chosen = np.random.default_rng(seed).permutation(len(ids))[:frames]
    total = np.zeros(500)
    for index in sorted(chosen):
        try:
            total += _height_counts(source.load(ids[index]), config)
        except FrameError:
            continue
    if total.sum() == 0:
        raise ValueError(f"no frame of a sample of {len(chosen)} has a label: quantile height edges cannot be found")
    share = np.cumsum(total) / total.sum()
    edges = tuple(float(np.searchsorted(share, k / config.n_height) + 1) / 100 for k in range(1, config.n_height))
    if len(set(edges)) < len(edges):
        raise ValueError(f"the heights of the sample are too alike for {config.n_height} bins: edges {edges}")
    return edges


def _height_counts(frame: Frame, config: HNConfig) -> npt.NDArray[np.float64]:
    """Labelled pixels of a frame in each of 500 bins of 1 cm: 0 to 5 m above the floor."""
    made = label_frame(frame, config)
    depth = frame.depth.astype(np.float32) * np.float32(frame.depth_scale)
    v, u = np.nonzero(made.label != op.IGNORE)
    k, z = frame.camera, depth[made.label != op.IGNORE]
    points = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z])
    height = np.clip(made.up @ points - made.floor_m, 0, 4.99)
    return np.bincount((height * 100).astype(np.int64), minlength=500).astype(np.float64)
