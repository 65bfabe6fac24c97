"""Gating: segmentation with depth-aware gates and recurrent refinement, trained stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from fastseg.data.augment import AugmentConfig
from fastseg.data.batches import Batch, Recipe, Scene, batches
from fastseg.data.sources import Labelled
from fastseg.frames import LabelledFrames, LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, Start, check_training, parse_size
from fastseg.tensors import Module, Tensor

STRIDE, FITTED = 8, 256  # images that edges are fitted from
BASELINE, GATING, LOOP, SEGMENTATION = "baseline", "gating", "loop", "segmentation"


@dataclass(frozen=True)
class GateConfig:
    """Where each pixel's pooling field comes from.

    source      predicted: a branch that learns the depth bins; attention: the same branch without depth; average: all
                fields alike; ground_truth: measured depth, which every image then needs, in evaluation too; baseline:
                one plain convolution; multiscale: the baseline on the image at three sizes
    tied        one kernel at all dilations
    hard        in evaluation each pixel's largest gate alone: a fraction of the arithmetic
    aspp        the gates stand in the place of the ASPP of network deeplabv3/ENCODER, with width 256
    branch      what the branch predicts: the bins (classes), log-depth (regression), or both
    width       channels of the head
    dilations   of the nearest depth bin to the farthest
    edges       of the bins in metres, increasing; empty = the paper's for NYUv2, or for Cityscapes where that is data
    fit         edges from the training images instead: as many measured pixels in one bin as in another
    backbone    its batch statistics: frozen, those of its trained weights; batch, those of each batch
    """

    source: Literal["predicted", "attention", "average", "ground_truth", "baseline", "multiscale"] = "predicted"
    tied: bool = False
    hard: bool = False
    aspp: bool = False
    branch: Literal["classes", "regression", "both"] = "classes"
    width: int = 512
    dilations: tuple[int, ...] = (16, 8, 4, 2, 1)
    edges: tuple[float, ...] = ()
    fit: bool = False
    backbone: Literal["frozen", "batch"] = "frozen"

    def __post_init__(self) -> None:
        if self.fit and self.edges:
            raise ValueError("gate.edges and gate.fit are two ways to the same edges; give one of them")
        count = len(self.dilations)
        rising = all(a < b for a, b in zip((0.0, *self.edges), (*self.edges, float("inf")), strict=True))
        if self.edges and not (rising and len(self.edges) == count - 1):
            raise ValueError(f"gate.edges of {count} dilations are {count - 1} increasing metres; got {self.edges}")


@dataclass(frozen=True)
class GateWeights:
    """What each loss counts: sum over passes l of loops_l seg_l + regression reg_l + classes cls_l (equation 1).

    loops         of the segmentation of each pass; with fewer passes the last of them
    regression    mean over measured pixels of (log D - log D*)^2
    classes       cross-entropy of the depth bins
    """

    loops: tuple[float, ...] = (0.1, 0.5, 1.0)
    regression: float = 1e-3
    classes: float = 1e-2

    def __post_init__(self) -> None:
        for value in (*self.loops, self.regression, self.classes):
            if not 0 <= value < float("inf"):
                raise ValueError(f"weights must not be negative; got {value:g}")


def _augment() -> AugmentConfig:
    return AugmentConfig(min_scale=0.5, max_scale=2.0, rotate=10.0, divide_depth=True)


def _optim() -> OptimConfig:
    return OptimConfig(lr=2.5e-4, schedule="poly")


@dataclass(frozen=True)
class DepthGating:
    """Train a segmentation network whose pooling fields follow depth; the defaults are the paper's.

    data        the data set; all but the sources average, attention, baseline and multiscale need its depth
    root        where the data set `data` lies: a folder, or a place in a store
    out         the folder for checkpoints and metrics; earlier stages lie in folders of it
    split       the data set's split to train on
    network     an encoder, or a decoder/encoder whose features are gated
    gate        where gates come from
    weights     of the losses
    loops       recurrent passes after the first
    stages      of baseline, gating, loop1, loop2, ..., segmentation: those to run, each from the one before it;
                empty = all
    size        HEIGHTxWIDTH of the training images, multiples of 8
    steps       of each stage, those of a resumed one included
    batch       images a step
    init_from   weights to start from: a checkpoint folder, a .safetensors or .pth file, timm:NAME; empty = random
    resume      go on from the last good checkpoint of the stage that was not finished
    seed        of everything random: weights, order, augmentation, dropout
    """

    name: ClassVar[str] = "gating"

    data: Labelled
    root: str
    out: Path
    split: str = "train"
    network: str = "resnet50"
    gate: GateConfig = field(default_factory=GateConfig)
    weights: GateWeights = field(default_factory=GateWeights)
    loops: int = 2
    stages: tuple[str, ...] = ()
    size: str = "480x640"
    steps: int = 40_000
    batch: int = 1
    init_from: str = ""
    resume: bool = False
    seed: int = 0
    augment: AugmentConfig = field(default_factory=_augment)
    optim: OptimConfig = field(default_factory=_optim)
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        check_training(self.steps, self.batch, self.optim)
        if any(side % STRIDE for side in parse_size(self.size)):
            raise ValueError(f"--size must be multiples of {STRIDE}, the stride of the features; got {self.size}")
        if self.loops < 1:
            raise ValueError(
                f"--loops must be at least 1; got {self.loops}; --stages [{BASELINE},{GATING}] trains no loop"
            )
        known = self._order()
        if self.stages != tuple(stage for stage in known if stage in self.stages):
            raise ValueError(f"--stages takes some of {', '.join(known)}, in this order; got {list(self.stages)}")
        if len(self.weights.loops) <= self.loops and f"{LOOP}{self.loops}" in (self.stages or known):
            raise ValueError(f"{self.loops} loops and the first pass need {self.loops + 1} numbers in weights.loops")
        if self.gate.backbone == "frozen" and not self.init_from:
            raise ValueError(
                "gate.backbone frozen keeps the batch statistics of trained weights: give --init-from as well, or "
                "--gate.backbone batch"
            )

    def _order(self) -> tuple[str, ...]:
        """All stages that this kind of network goes through."""
        if self.gate.source == "baseline":
            return (BASELINE,)
        if self.gate.source == "multiscale":
            return (BASELINE, GATING)
        return (BASELINE, GATING, *(f"{LOOP}{number + 1}" for number in range(self.loops)), SEGMENTATION)

    def plan(self) -> list[DepthGating]:
        """The runs of its stages in order: the last one's folder is `out`, the others' lie in it."""
        order = self.stages or self._order()
        found: list[DepthGating] = []
        for number, stage in enumerate(order, 1):
            out = self.out if number == len(order) else self.out / f"{number}-{stage}"
            source = str(found[-1].out.absolute()) if found else self.init_from
            resume = self.resume and any(out.glob("checkpoint-*"))
            found.append(replace(self, stages=(stage,), out=out, init_from=source, resume=resume))
        return found

    @property
    def _stage(self) -> str:
        if len(stages := self.stages or self._order()) > 1:
            raise ValueError(f"one stage is trained at a time; there are {', '.join(stages)}")
        return stages[0]

    def network_name(self) -> str:
        """The stage's network, as `fastseg.nets.build_network` takes it."""
        from fastseg.nets.gating import Gating

        stage, gate = self._stage, self.gate
        loops = int(stage.removeprefix(LOOP)) if stage.startswith(LOOP) else self.loops * (stage == SEGMENTATION)
        source = "baseline" if stage == BASELINE else gate.source
        tied = gate.tied and stage != BASELINE
        spec = Gating(source, tied, gate.hard, gate.aspp, loops, gate.branch, gate.width, gate.dilations)
        return f"{spec.name}/{self.network}"

    def examples(self) -> LabelledImages:
        """The split's labelled images."""
        from fastseg.data.sources import open_labelled

        return open_labelled(self.data, self.root, self.split)

    def validation(self) -> LabelledImages | None:
        """The labelled images of loop.eval_split, when loop.eval_every asks for them."""
        from fastseg.data.sources import open_labelled

        return open_labelled(self.data, self.root, self.loop.eval_split) if self.loop.eval_every else None

    def build(self, classes: int) -> Start:
        """The stage's network, begun from the stage before it or from `init_from`."""
        from fastseg.methods.gating_start import begun

        frozen = self.gate.backbone == "frozen"
        return begun(self.network_name(), classes, self.seed, self.init_from, self._edges(), frozen)

    def _edges(self) -> tuple[float, ...]:
        """Edges of the depth bins, empty where the network's own stay."""
        import numpy as np

        from fastseg.nets.gating_depth import CITYSCAPES_DISPARITIES, disparity_edges, fit_edges

        if not self.gate.fit:
            published = self.data == "cityscapes" and len(self.gate.dilations) == len(CITYSCAPES_DISPARITIES) + 1
            return self.gate.edges or (disparity_edges() if published else ())
        examples = cast(LabelledFrames, self.examples())
        if not hasattr(examples, "depth"):
            raise ValueError(f"gate.fit needs depth beside the labelled images; {self.data} has none")
        chosen = np.linspace(0, len(examples) - 1, min(FITTED, len(examples))).astype(int).tolist()
        return fit_edges((examples.depth(index) for index in chosen), len(self.gate.dilations))

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of steps start .. steps - 1: this rank's rows of each, with depth where the stage needs it."""
        from fastseg.nets.gating_depth import check_metres

        depth = self._stage != BASELINE and (self.gate.source == "ground_truth" or self._learns_depth)
        recipe = Recipe(parse_size(self.size), self.batch, self.seed, self.augment, depth=depth)
        made = batches(examples, recipe, start, self.steps, self.loop.workers, rank=rank, world=world)
        with closing(cast(Any, made)):
            for batch in made:
                if batch.depth is not None:
                    check_metres(batch.depth.numpy(), f"the depth of {', '.join(batch.ids)}")
                yield batch

    @property
    def _learns_depth(self) -> bool:
        """Whether the stage minimises the depth branch's losses too."""
        return self.gate.source == "predicted" and self._stage not in (BASELINE, SEGMENTATION)

    def loss(
        self, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """The weighted sum over all passes of segmentation and, while depth is learnt, of its losses."""
        from fastseg.methods.gating_losses import gating_loss

        weights = self.weights if self._learns_depth else replace(self.weights, regression=0.0, classes=0.0)
        return gating_loss(net, images, labels, weight, None if scene is None else scene.depth, weights)
