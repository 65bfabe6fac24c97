"""Monodepth: pre-training on depth, from video, from frames whose poses are known (stereo), or from a depth sensor.

Beside it, for comparison, pre-training on what video teaches without depth: optical flow, and inpainting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from fastseg.data.augment import AugmentConfig
from fastseg.data.batches import Batch, Recipe, Scene, batches
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clip_sources import ClipSource
from fastseg.data.sources import Reader
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, Start, check_training, parse_size
from fastseg.methods.pretext import FlowConfig, InpaintConfig
from fastseg.tensors import Module, Tensor

STEPS = 155_000  # 20 epochs of 93,000 images in batches of 12; the rate falls after the 15th


@dataclass(frozen=True)
class DepthConfig:
    """What depth may be, and how well a source frame seen through it must explain its target.

    nearest, farthest   metres: 1/d = 1/farthest + (1/nearest - 1/farthest) sigma
    ssim                the window of SSIM: 3x3 or 7x7 box, 11x11 Gaussian
    alpha               its share of the photometric error
    reduce              over a pixel's source frames: their mean, or the least (others' method: see the README's notice)
    automask            leaves out pixels that the unmoved source explains better (others' method, likewise)
    padding             what lies outside a source frame: its border's colour, or nothing, and such pixels do not count
    smoothness          weight of edge-aware smoothness, halved from scale to scale
    """

    nearest: float = 0.1
    farthest: float = 100.0
    ssim: Literal["box3", "box7", "gauss11"] = "box3"
    alpha: float = 0.85
    reduce: Literal["mean", "min"] = "mean"
    automask: bool = False
    padding: Literal["border", "zeros"] = "border"
    smoothness: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.nearest < self.farthest < float("inf"):
            raise ValueError(f"depth needs 0 < nearest < farthest metres; got {self.nearest:g} and {self.farthest:g}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"depth.alpha must lie in [0, 1]; got {self.alpha:g}")
        if not 0 <= self.smoothness < float("inf"):
            raise ValueError(f"depth.smoothness must not be negative; got {self.smoothness:g}")


@dataclass(frozen=True)
class ClipConfig:
    """Where frames lie, and which of them are compared; see fastseg.data.clip_sources.open_clips.

    source      the layout of `root`; of sensor: frames, stereo or rooms
    reader      of frames: the RGB-D data set
    offsets     of video and stereo: places of the source frames after the target; empty = [-1,1], or none beside the
                pair's, or [1] of flow. Those of stereo need known poses
    pair        of stereo: the picture of the other camera is a source frame
    intrinsics  of folder and video: a file, or fx,fy,cx,cy; empty = what lies beside the pictures. Of any source, when
                one camera took its video: `learn`, or `learn:START` from a file or fx,fy,cx,cy on; `learn` alone begins
                at a view of 60 degrees. Flow and inpainting need none
    cameras     of KITTI: colour or grey; empty = colour
    split       of cityscapes and frames; empty = all, or the reader's own
    min_motion  above 0, clips whose camera moves by less than this share of the width are left out
    """

    source: ClipSource = "folder"
    reader: Reader = "folder"
    offsets: tuple[int, ...] = ()
    pair: bool = True
    intrinsics: str = ""
    cameras: Literal["", "colour", "grey"] = ""
    split: str = ""
    min_motion: float = 0.0

    @property
    def learns(self) -> bool:
        """Whether the camera is to be learned."""
        from fastseg.data.clip_camera import to_learn

        return to_learn(self.intrinsics)


def _optim() -> OptimConfig:
    return OptimConfig(lr=1e-4, optimizer="adamw", weight_decay=0.0, schedule="step")


def _augment() -> AugmentConfig:
    return AugmentConfig(min_scale=1.0, max_scale=1.0, hue=0.1, jitter_chance=0.5)


@dataclass(frozen=True)
class Monodepth:
    """Pre-train any segmentation network by letting it predict depth; the defaults are the paper's for video.

    objective     depth; flow: the encoder sees two frames, a decoder of its own finds the optical flow between them
                  (paper: --batch 8 --optim.lr 5e-4, a tenth of it in the second half); inpaint: the network restores
                  pictures from which rectangles were removed. Both take video alone
    supervision   sensor: L1 to measured depth (of clips stereo, that of its disparity); stereo: photometric, source
                  frames with known poses; video: photometric, the camera's motion is learned too
    root          where the clips lie: a folder
    out           the folder for checkpoints and metrics
    clips         what lies there: videos, stereo pairs, RGB-D recordings
    network       decoder/encoder, see fastseg.nets.build_network; its one output is the disparity, at four scales of
                  `skip`, at one of any other; inpainting has three outputs, and flow leaves the decoder out
    size          HEIGHTxWIDTH that images are resized to; a smaller one with augment.min_scale = augment.max_scale = k
                  and augment.fit cover is the paper's "cropped"
    steps         in all, those of a resumed run included
    batch         images a step
    init_from     weights to start from: a checkpoint folder, a .safetensors or .pth file, timm:NAME or
                  torchvision:NAME; empty = random
    resume        go on from the last good checkpoint in `out`
    seed          of everything random: weights, order, augmentation
    """

    name: ClassVar[str] = "monodepth"

    supervision: Literal["video", "stereo", "sensor"] = "video"
    root: str = field(kw_only=True)
    out: Path = field(kw_only=True)
    objective: Literal["depth", "flow", "inpaint"] = "depth"
    clips: ClipConfig = field(default_factory=ClipConfig)
    network: str = "skip/resnet18"
    size: str = "192x640"
    steps: int = STEPS
    batch: int = 12
    init_from: str = ""
    resume: bool = False
    seed: int = 0
    depth: DepthConfig = field(default_factory=DepthConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    inpaint: InpaintConfig = field(default_factory=InpaintConfig)
    augment: AugmentConfig = field(default_factory=_augment)
    optim: OptimConfig = field(default_factory=_optim)
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        check_training(self.steps, self.batch, self.optim)
        parse_size(self.size)
        if self.loop.eval_every:
            raise ValueError("loop.eval_every is for segment: there are no classes to evaluate while learning depth")
        if self.optim.class_weights != "none":
            raise ValueError("optim.class_weights is for classes; depth has none")
        if self.objective != "depth" and self.supervision != "video":
            raise ValueError(
                f"objective {self.objective} learns from the pictures of video alone, without depth or poses: give "
                f"--supervision video, not {self.supervision}"
            )
        if self.clips.learns and (self.supervision != "video" or self.augment.rotate):
            got = f"{self.supervision} and {self.augment.rotate:g}"
            raise ValueError(f"clips.intrinsics learn goes with supervision video and augment.rotate 0; got {got}")

    def examples(self) -> LabelledImages:
        """The clips at `root`, with their depth, poses or neither, as the supervision asks."""
        from fastseg.data.clip_camera import StartedClips, start_lens
        from fastseg.data.clip_sources import open_clips, with_depth
        from fastseg.data.unlabelled import ClipImages, MeasuredImages

        found, take = self.clips, {"intrinsics": self._intrinsics(), "cameras": self.clips.cameras}
        given: dict[str, Any] = {name: value for name, value in {**take, "split": found.split}.items() if value}
        if found.source == "frames":
            given["reader"] = found.reader
        clips = open_clips(found.source, self.root, self._plan(), min_motion=found.min_motion, **given)
        if found.learns and self.objective == "depth":
            return ClipImages(StartedClips(clips, start_lens(found.intrinsics)))
        return MeasuredImages(with_depth(clips)) if self.supervision == "sensor" else ClipImages(clips)

    def _intrinsics(self) -> str:
        """What its source is told of the camera; where nothing is known, or need be, that it is to be learned."""
        from fastseg.data.clip_camera import LEARN
        from fastseg.data.places import place

        found, alone = self.clips, self.clips.source in ("folder", "video")  # the others have theirs
        if found.learns:
            return LEARN if alone else ""
        stated = found.intrinsics or (place(self.root) / "intrinsics.json").is_file()
        return LEARN if self.objective != "depth" and alone and not stated else found.intrinsics

    def _plan(self) -> ClipPlan:
        """Which source frames a target has."""
        if self.supervision == "sensor" or self.objective == "inpaint":
            return ClipPlan(())
        pair = self.supervision == "stereo" and self.clips.pair
        usual = (1,) if self.objective == "flow" else () if pair else (-1, 1)
        offsets = self.clips.offsets or usual
        return ClipPlan(offsets, pair, "learned" if self.supervision == "video" else "needed")

    def validation(self) -> None:
        """None: depth is a means here, not an end."""
        return None

    def build(self, classes: int) -> Start:
        """The network with its disparity heads and, of video, the network of the camera's motion as its `pose`.

        Where the camera is to be learned, that one has it. Of flow, the encoder with a flow decoder; of inpainting, the
        network with three outputs.
        """
        from fastseg.methods.start import start

        pose = "depth-camera" if self.clips.learns else "depth-pose"
        depth = pose if self.supervision == "video" else "depth"
        kind = depth if self.objective == "depth" else self.objective
        begun = start(f"{kind}/{self.network}", classes, self.seed, self.init_from)
        if self.objective == "flow":
            from fastseg.methods.flow_loss import normalising

            normalising(begun)
        return begun

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of steps start .. steps - 1: this rank's rows of each."""
        asked: dict[str, dict[str, Any]] = {
            "sensor": {"depth": True}, "stereo": {"clips": "posed"}, "video": {"clips": "frames"},
            "flow": {"clips": "pairs"}, "inpaint": {},
        }  # fmt: skip
        what = asked[self.supervision if self.objective == "depth" else self.objective]
        recipe = Recipe(parse_size(self.size), self.batch, self.seed, self.augment, **what)
        found = batches(examples, recipe, start, self.steps, self.loop.workers, rank=rank, world=world)
        if self.objective != "inpaint":
            return found
        from fastseg.methods.inpaint import with_holes

        return with_holes(found, recipe, len(examples), self.inpaint, rank)

    def loss(
        self, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """The mean over the network's scales of L1 to depth in metres, or of the photometric error and smoothness.

        Of inpainting, the L1 to the picture. ValueError: a scene without the depth, frames or poses that the
        supervision needs.
        """
        if scene is None:
            raise ValueError(f"supervision {self.supervision} needs the scene of a batch, not its labels alone")
        if self.objective == "flow":
            from fastseg.methods.flow_loss import flow_loss

            return flow_loss(net, scene, labels, self.flow)
        if self.objective == "inpaint":
            from fastseg.methods.inpaint import inpaint_loss

            return inpaint_loss(net, images, labels, scene, self.inpaint)
        return self._depth_loss(net, images, labels, scene)

    def _depth_loss(self, net: Module, images: Tensor, labels: Tensor, scene: Scene) -> Tensor:
        from fastseg.methods.depth_losses import clip_loss, learned_motion, sensor_loss
        from fastseg.nets import disparities

        pose = cast(Module, net.pose) if self.supervision == "video" else None
        motion = learned_motion(pose, scene, self._plan().offsets) if pose is not None else None
        found = disparities(net, images)
        if self.supervision == "sensor":
            return sensor_loss(found, scene, self.depth)
        return clip_loss(found, scene, labels, self.depth, motion)
