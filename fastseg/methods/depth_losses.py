"""What a predicted disparity is compared with: a sensor's depth, or the target frame as its source frames show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.data.batches import Scene
from fastseg.losses import depth_l1, smoothness
from fastseg.methods.depth_camera import learned_camera
from fastseg.nets.depth import depth_of, grown
from fastseg.nets.made_again import made_again
from fastseg.nets.pose import inverse
from fastseg.ops.photometric import Padding, Reduction, Window, photometric_loss


class DepthSettings(Protocol):
    """What these losses read of `fastseg.methods.monodepth.DepthConfig`."""

    @property
    def nearest(self) -> float: ...
    @property
    def farthest(self) -> float: ...
    @property
    def ssim(self) -> Window: ...
    @property
    def alpha(self) -> float: ...
    @property
    def reduce(self) -> Reduction: ...
    @property
    def automask(self) -> bool: ...
    @property
    def padding(self) -> Padding: ...
    @property
    def smoothness(self) -> float: ...


def sensor_loss(disparities: list[Tensor], scene: Scene, settings: DepthSettings) -> Tensor:
    """Mean |d - d*| in metres over the measured pixels, each scale at full resolution; a float32 scalar, 0 for none.

    disparities   of each scale, see `fastseg.nets.disparities`; scene.depth (N, H, W) metres, 0 = no measurement

    ValueError: a scene without depth.
    """
    if scene.depth is None:
        raise ValueError("supervision by a sensor needs the depth of a batch")
    depths = _depths(disparities, scene, settings)
    return torch.stack([depth_l1(each, scene.depth) for each in depths]).mean()


def clip_loss(
    disparities: list[Tensor],
    scene: Scene,
    labels: Tensor,
    settings: DepthSettings,
    motion: tuple[Tensor, Tensor] | None,
    compare: Callable[..., tuple[Tensor, ...]] = photometric_loss,
) -> Tensor:
    """The mean over scales s of  sum_p m_s(p) pe_s(p) / sum_p m_s(p) + w 2^-s smoothness_s,  a float32 scalar.

    pe_s      photometric error of the depth of scale s at full resolution
    m_s       1 for a labelled pixel (labels (N, H, W), 255 = not seen) that a source frame shows and no auto-mask
              drops, 0 for any other: a mean over all pixels would fall as more of them leave the source frames. No
              such pixel in the batch: 0
    motion    camera (N, 4) and T_source_target (N, S, 4, 4), see `learned_motion`; None = the scene's, which are known
    compare   what finds pe and, second, the source that it came from, -1 for none; called as `photometric_loss`

    ValueError: a scene without frames, camera or poses.
    """
    target, sources, camera = _frames(scene)
    camera, poses = motion or (camera, known_poses(scene))
    terms = []
    for scale, (depth, disparity) in enumerate(zip(_depths(disparities, scene, settings), disparities, strict=True)):
        error, choice, *_ = compare(
            target, sources, depth, camera, poses, ssim=settings.ssim, alpha=settings.alpha,
            padding=settings.padding, reduce=settings.reduce, automask=settings.automask,
        )  # fmt: skip
        kept = ((labels == 0) & (choice >= 0)).float()
        small = functional.interpolate(target, disparity.shape[-2:], mode="area")
        rough = settings.smoothness * 0.5**scale * smoothness(disparity, small)
        terms.append((error * kept).sum() / kept.sum().clamp_min(1) + rough)
    return torch.stack(terms).mean()


def learned_motion(pose: nn.Module, scene: Scene, offsets: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """The camera (N, 4) and T_source_target (N, S, 4, 4) as a network sees them that knows motion, and maybe a lens.

    offsets   of the source frames, see `learned_poses`

    Nothing of it is kept for the backward but the frames (`made_again`). Called before the network of depth, it is
    made again when depth's backward is over and what that kept is free.
    ValueError: a scene without frames or camera.
    """
    target, sources, camera = _frames(scene)
    return learned_camera(pose, camera, scene.extent), learned_poses(pose, target, sources, offsets)


def _frames(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Target and source frames in [0, 1] and their camera, float32; ValueError for a scene without."""
    if scene.sources is None or scene.camera is None:
        raise ValueError("supervision by video or stereo needs clips: source frames and their camera")
    target, sources = ((each.float() / 255).contiguous() for each in (scene.images, scene.sources))
    return target, sources, scene.camera.float()


def known_poses(scene: Scene) -> Tensor:
    """T_source_target (N, S, 4, 4) as the clips have them; ValueError where they have none."""
    if scene.poses is None:
        raise ValueError("supervision by stereo needs clips whose source frames have known poses")
    return scene.poses


def learned_poses(pose: nn.Module, target: Tensor, sources: Tensor, offsets: Sequence[int] = ()) -> Tensor:
    """T_source_target (N, S, 4, 4) as the network sees them, all pairs at once.

    target (N, 3, H, W), sources (N, S, 3, H, W) in [0, 1]. Of a source frame before the target (offset < 0) it is shown
    the source first and its motion is inverted: it always sees two frames in order of time, so that a camera which
    goes forward, as a car's does, need not be told from one that goes back before anything else can be learned.
    """
    images, frames = sources.shape[:2]
    again = target[:, None].expand(-1, frames, -1, -1, -1)
    before = torch.tensor([offset < 0 for offset in offsets] or [False] * frames, device=sources.device)
    turned = before[None, :, None, None, None]
    first, second = torch.where(turned, sources, again), torch.where(turned, again, sources)
    found = made_again(pose, first.flatten(0, 1), second.flatten(0, 1))
    found = found.reshape(images, frames, 4, 4)
    return torch.where(before[None, :, None, None], inverse(found), found)


def _depths(disparities: list[Tensor], scene: Scene, settings: DepthSettings) -> list[Tensor]:
    """The depth (N, H, W) of each scale, at full resolution."""
    height, width = scene.images.shape[-2:]
    return [
        depth_of(grown(each, scale, (height, width)), settings.nearest, settings.farthest)
        for scale, each in enumerate(disparities)
    ]
