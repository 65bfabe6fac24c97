"""How well depth and motion explain clips of video that were not trained on: `explained`, `motion`, `agreement`.

photometric     mean over the pixels whose 3x3 windows the source frame shows of alpha (1 - SSIM) / 2 + (1 - alpha)
                |I - I'|, alpha 0.85, 3x3 windows, colours in [0, 1], every source frame of every target; beside it the
                same error of the same pixels of the source frame as it is (`unwarped`)
inconsistency   mean |z - d| / (z + d): z the depth of a target's point in the source camera, d the depth predicted for
                the source frame where the point lands (Bian et al., 2019). A constant depth is consistent, too: read it
                beside the photometric error
motion          `fastseg.metrics_pose.PoseScores` of the predicted steps from frame to frame; `straight` is the ate of
                equal steps along the optical axis, which a car on a straight road comes close to
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fastseg.data.augment import Normalisation, resized
from fastseg.data.clips import RecordedClips
from fastseg.frames import Camera
from fastseg.methods.depth_losses import learned_poses
from fastseg.metrics_depth import DepthSums
from fastseg.metrics_pose import pose_scores
from fastseg.nets import disparities
from fastseg.nets.depth import depth_of
from fastseg.ops.photometric import photometric_loss, warp

Predict = Callable[[Tensor], Tensor]  # an image (1, 3, h, w) in [0, 1] -> depth (1, h, w)


@dataclass(frozen=True)
class Pair:
    """A target and one of its source frames at the size of the network.

    target, source   (1, 3, h, w) in [0, 1]
    camera           (1, 4) fx, fy, cx, cy; `pinhole` is the same
    pose             (1, 4, 4) the true T_source_target, None where it is not known
    back             whether the source frame comes before the target
    """

    target: Tensor
    source: Tensor
    camera: Tensor
    pinhole: Camera
    pose: Tensor | None
    back: bool


class Geometry(Protocol):
    """What is claimed of a pair: the target's depth, the source's (None = not claimed), T_source_target."""

    def __call__(self, pair: Pair) -> tuple[Tensor, Tensor | None, Tensor]: ...


@dataclass(frozen=True)
class Chosen:
    """Some of a recording's clips."""

    whole: RecordedClips
    indices: Sequence[int]

    def ids(self) -> list[str]:
        names = self.whole.ids()
        return [names[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def clip(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Camera | None, npt.NDArray[np.float32] | None]:
        return self.whole.clip(self.indices[index])


@dataclass(frozen=True)
class Learned:
    """A depth network and the network of the camera's motion, in evaluation mode."""

    net: nn.Module
    normalisation: Normalisation
    limits: tuple[float, float]

    @torch.no_grad()
    def depth(self, image: Tensor) -> Tensor:
        """(N, h, w) of images (N, 3, h, w) in [0, 1]."""
        seen = self.normalisation((image * 255).round().to(torch.uint8))
        return depth_of(disparities(self.net.eval(), seen)[0], *self.limits)[:, 0]

    @torch.no_grad()
    def pose(self, pair: Pair) -> Tensor:
        """T_source_target (1, 4, 4), from the frames in order of time as in training."""
        network = cast(nn.Module, self.net.eval().pose)
        return learned_poses(network, pair.target, pair.source[:, None], [-1 if pair.back else 1])[:, 0]

    def __call__(self, pair: Pair) -> tuple[Tensor, Tensor | None, Tensor]:
        return self.depth(pair.target), self.depth(pair.source), self.pose(pair)


@dataclass(frozen=True)
class TruePoses:
    """The network's depth, scaled so that its own step is as long as the true one, and the true pose."""

    learned: Learned

    def __call__(self, pair: Pair) -> tuple[Tensor, Tensor | None, Tensor]:
        here, there, found = self.learned(pair)
        assert pair.pose is not None
        scale = pair.pose[:, :3, 3].norm() / found[:, :3, 3].norm().clamp_min(1e-9)
        return here * scale, None if there is None else there * scale, pair.pose


@dataclass(frozen=True)
class FlatRoad:
    """A road `height` metres below a level camera, everything above the horizon far away, and the true pose."""

    height: float = 1.65
    farthest: float = 80.0

    def depth(self, pinhole: Camera) -> Tensor:
        below = torch.arange(pinhole.height, dtype=torch.float32) - pinhole.cy
        column = (pinhole.fy * self.height / below.clamp_min(1e-3)).clamp(max=self.farthest)
        return column[None, :, None].repeat(1, 1, pinhole.width)

    def __call__(self, pair: Pair) -> tuple[Tensor, Tensor | None, Tensor]:
        assert pair.pose is not None
        return self.depth(pair.pinhole), None, pair.pose


def pairs(clips: Chosen, size: tuple[int, int]) -> Iterator[Pair]:
    """Every target of clips with every one of its source frames."""
    for index in range(len(clips)):
        target, sources, camera, poses = clips.clip(index)
        assert camera is not None, "the camera is known here"
        small = camera.resized(*size)
        numbers = torch.tensor([[small.fx, small.fy, small.cx, small.cy]])
        for at, (source, offset) in enumerate(zip(sources, clips.whole.plan.offsets, strict=True)):
            pose = None if poses is None else torch.from_numpy(poses[at])[None]
            yield Pair(tensor_of(target, size), tensor_of(source, size), numbers, small, pose, offset < 0)


def explained(clips: Chosen, size: tuple[int, int], geometry: Geometry) -> dict[str, float]:
    """{photometric, unwarped, seen, inconsistency (where claimed)} over all pairs; see this module's text.

    seen    the share of the targets' pixels that the source frame shows
    """
    sums, pixels, inconsistent, compared, every = [0.0, 0.0], 0, 0.0, 0, 0
    for pair in pairs(clips, size):
        depth, there, pose = geometry(pair)
        valid = _whole(warp(pair.source, depth, pair.camera, pose, padding="zeros")[1].bool())
        still = _error(pair, torch.ones_like(depth), torch.eye(4)[None])
        sums = [
            known + float(error[valid].sum())
            for known, error in zip(sums, (_error(pair, depth, pose), still), strict=True)
        ]
        pixels, every = pixels + int(valid.sum()), every + valid.numel()
        if there is not None:
            apart = _apart(pair, depth, there, pose)[valid]
            inconsistent, compared = inconsistent + float(apart.sum()), compared + apart.numel()
    found = {"photometric": sums[0] / pixels, "unwarped": sums[1] / pixels, "seen": pixels / every}
    return found | ({"inconsistency": inconsistent / compared} if compared else {})


def motion(clips: RecordedClips, first: int, size: tuple[int, int], learned: Learned) -> dict[str, float]:
    """PoseScores of the steps of clips whose one source frame is the next one, from clip `first` to the last."""
    chosen = Chosen(clips, range(first, len(clips)))
    steps = [learned.pose(pair)[0].numpy() for pair in pairs(chosen, size)]
    true = [np.eye(4)]
    for pair in pairs(chosen, size):
        assert pair.pose is not None
        true.append(true[-1] @ np.linalg.inv(pair.pose[0].double().numpy()))
    ahead = np.tile(np.eye(4), (len(steps), 1, 1))
    ahead[:, 2, 3] = -1
    straight = pose_scores(np.stack(true), ahead).ate
    return asdict(pose_scores(np.stack(true), np.stack(steps).astype(np.float64))) | {"straight": straight}


def triples(clips: Chosen, size: tuple[int, int], learned: Learned) -> dict[str, float]:
    """The mean PoseScores of the three frames of each clip, whose source frames are one before and one after."""
    found = []
    seen = list(pairs(clips, size))
    for back, ahead in zip(seen[::2], seen[1::2], strict=True):
        assert back.pose is not None and ahead.pose is not None
        true = np.stack([np.eye(4), *(np.linalg.inv(each[0].double().numpy()) for each in (back.pose, ahead.pose))])
        steps = [learned.pose(each)[0].double().numpy() for each in (back, ahead)]
        found.append(asdict(pose_scores(true[[1, 0, 2]], np.stack([np.linalg.inv(steps[0]), steps[1]]), 3)))
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]} | {"snippets": len(found)}


def agreement(
    pictures: Sequence[npt.NDArray[np.uint8]], depths: Sequence[npt.NDArray[np.float32]], size: tuple[int, int],
    predict: Predict, *, median: bool, farthest: float = 80.0,
) -> dict[str, float]:  # fmt: skip
    """DepthScores of `predict` (image (1, 3, h, w) in [0, 1] -> depth (1, h, w)) against depth maps of the pictures.

    median: each prediction is first scaled to the median of its image, as after video.
    """
    sums = DepthSums(farthest=farthest, median_scaling=median)
    for picture, depth in zip(pictures, depths, strict=True):
        found = predict(tensor_of(picture, size))[None]
        grown = 1 / nn.functional.interpolate(1 / found, depth.shape, mode="bilinear", align_corners=False)
        sums.add(depth, grown[0, 0].numpy())
    return asdict(sums.scores())


def tensor_of(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """(1, 3, h, w) in [0, 1] of a picture (H, W, 3)."""
    return (resized(picture, size).float() / 255)[None]


def _whole(valid: Tensor) -> Tensor:
    """Where all of a 3x3 window counts, for what does not is black in SSIM; beyond the border everything counts."""
    beside: Tensor = nn.functional.max_pool2d((~valid)[:, None].float(), 3, 1, 1)[:, 0]
    return beside == 0


def _error(pair: Pair, depth: Tensor, pose: Tensor) -> Tensor:
    error: Tensor = photometric_loss(pair.target, pair.source[:, None], depth, pair.camera, pose[:, None])[0]
    return error


def _apart(pair: Pair, depth: Tensor, there: Tensor, pose: Tensor) -> Tensor:
    """|z - d| / (z + d), (1, h, w)."""
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    fx, fy, cx, cy = pair.camera[0]
    points = torch.stack([(u - cx) / fx, (v - cy) / fy, torch.ones(height, width)]) * depth
    z = torch.einsum("j,jhw->hw", pose[0, 2, :3], points) + pose[0, 2, 3]
    d = warp(there[:, None], depth, pair.camera, pose)[0][:, 0]
    apart: Tensor = (z - d).abs() / (z.abs() + d).clamp_min(1e-9)
    return apart
