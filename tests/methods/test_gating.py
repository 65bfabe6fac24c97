from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.checkpoint import load
from fastseg.data.augment import IMAGENET, NOTHING
from fastseg.data.batches import Batch, Scene
from fastseg.frames import LabelledImages
from fastseg.inference import restored
from fastseg.losses import segmentation_loss
from fastseg.methods import OptimConfig
from fastseg.methods.gating import DepthGating, GateConfig, GateWeights
from fastseg.methods.gating_losses import log_depth_loss
from fastseg.methods.gating_start import begun, inherited
from fastseg.nets import build_network
from fastseg.nets.gating_depth import quantised
from fastseg.nets.gating_net import GatedNet
from fastseg.train import main
from tests.squares import LOOP, Squares, digest, lines

pytestmark = pytest.mark.torch
GATE = GateConfig(width=16, branch="both", backbone="batch")


class DeepSquares(Squares):
    """Squares before a wall whose depth grows to the right; `unit` metres are one."""

    def __init__(self, count: int = 8, unit: float = 1.0) -> None:
        super().__init__(count)
        self.unit = unit

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        label = self[index][1]
        wall = np.broadcast_to(np.linspace(1, 6, 64, dtype=np.float32), (64, 64))
        return np.where(label > 0, wall / 2, wall).astype(np.float32) / np.float32(self.unit)

    def camera(self, index: int) -> None:
        return None


@dataclass(frozen=True)
class Toy(DepthGating):
    """Trains on squares."""

    def examples(self) -> LabelledImages:
        return DeepSquares()

    def validation(self) -> LabelledImages | None:
        return DeepSquares(4) if self.loop.eval_every else None


@dataclass(frozen=True)
class Interrupted(Toy):
    """Tells its own process to stop in step 2 of the stage gating."""

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in super().batches(examples, start, rank, world):
            if batch.step == 2 and self.stages == ("gating",):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def _toy(out: Path, kind: type[DepthGating] = Toy, **changed: Any) -> Any:
    given: dict[str, Any] = {
        "data": "folder", "root": "nowhere", "out": out, "network": "mobilenetv3_small_050", "gate": GATE, "loops": 1,
        "size": "32x32", "steps": 3, "batch": 2, "loop": LOOP,
    }  # fmt: skip
    return kind(**{**given, **changed})


def test_the_defaults_are_the_papers() -> None:
    method = DepthGating("nyuv2", "data", Path("run"), init_from="timm:resnet50")
    assert (method.network, method.batch, method.loops) == ("resnet50", 1, 2)
    assert (method.optim.lr, method.optim.schedule, method.optim.momentum, method.optim.weight_decay) == (
        2.5e-4, "poly", 0.9, 5e-4
    )  # fmt: skip
    assert (method.augment.min_scale, method.augment.max_scale, method.augment.rotate) == (0.5, 2.0, 10.0)
    assert method.augment.divide_depth and method.gate.backbone == "frozen"
    assert (method.weights.loops, method.weights.classes, method.weights.regression) == ((0.1, 0.5, 1.0), 0.01, 0.001)


def test_the_recipe_goes_from_the_baseline_to_segmentation_alone(tmp_path: Path) -> None:
    plan = _toy(tmp_path, loops=2).plan()
    assert [each.stages[0] for each in plan] == ["baseline", "gating", "loop1", "loop2", "segmentation"]
    assert [each.network_name().partition("/")[0] for each in plan] == [
        "gated-baseline-both-w16", "gated-predicted-both-w16", "gated-predicted-loops1-both-w16",
        "gated-predicted-loops2-both-w16", "gated-predicted-loops2-both-w16",
    ]  # fmt: skip
    assert plan[-1].out == tmp_path and plan[1].init_from == str(tmp_path / "1-baseline")
    assert [each.out.name for each in plan[:-1]] == ["1-baseline", "2-gating", "3-loop1", "4-loop2"]
    assert len(_toy(tmp_path, gate=replace(GATE, source="baseline")).plan()) == 1


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"loops": 0}, "--loops must be at least 1; got 0"),
        ({"size": "33x32"}, "--size must be multiples of 8"),
        ({"gate": replace(GATE, backbone="frozen")}, "give --init-from as well"),
        ({"stages": ("gating", "baseline")}, "in this order"),
        ({"stages": ("loop2",)}, "takes some of baseline, gating, loop1, segmentation"),
        ({"loops": 3}, "need 4 numbers in weights.loops"),
    ],
)
def test_a_training_that_cannot_be_is_refused(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        _toy(tmp_path, **changed)


def test_edges_are_checked_before_anything_is_read() -> None:
    for edges in ((1.0, 2.0, 2.0, 3.0), (1.0, 2.0), (-1.0, 2.0, 3.0, 4.0)):
        with pytest.raises(ValueError, match="4 increasing metres"):
            GateConfig(edges=edges)
    with pytest.raises(ValueError, match="two ways to the same edges"):
        GateConfig(edges=(1.0, 2.0, 3.0, 4.0), fit=True)
    with pytest.raises(ValueError, match="must not be negative"):
        GateWeights(classes=-1.0)


def test_the_loss_is_the_papers_sum_over_passes(tmp_path: Path) -> None:
    stage = _toy(tmp_path, loops=2).plan()[3]
    net = build_network(stage.network_name(), 3).eval()
    assert isinstance(net, GatedNet)
    made = torch.Generator().manual_seed(0)
    images, depth = torch.rand(2, 3, 32, 32, generator=made), 6 * torch.rand(2, 32, 32, generator=made)
    labels = torch.randint(0, 3, (2, 32, 32), generator=made)
    depth[:, :9] = 0
    found = stage.loss(net, images, labels, None, Scene(images, depth))
    truth, total = net.grid_depth(depth, net.every(images)[0].gate), torch.zeros(())
    for share, each in zip((0.1, 0.5, 1.0), net.every(images), strict=True):
        assert each.bins is not None and each.log_depth is not None
        total = total + share * segmentation_loss(net.shown(each, images), labels)
        total = total + 0.01 * segmentation_loss(each.bins, quantised(truth, net.edges))
        total = total + 0.001 * log_depth_loss(each.log_depth, truth)
    torch.testing.assert_close(found, total)
    last = _toy(tmp_path, loops=2).plan()[4]
    alone = last.loss(net, images, labels, None, Scene(images))
    assert alone < found
    with pytest.raises(ValueError, match="this one has none"):
        stage.loss(net, images, labels, None, Scene(images))


def test_log_depth_is_compared_where_it_was_measured() -> None:
    depth = torch.tensor([[[1.0, 2.0, 0.0, float("nan")]]])
    predicted = torch.tensor([[[0.5, 0.0, 9.0, 9.0]]]).requires_grad_()
    loss = log_depth_loss(predicted, depth)
    assert loss.item() == pytest.approx((0.25 + np.log(2) ** 2) / 2)
    (gradient,) = torch.autograd.grad(loss, predicted)
    assert gradient.isfinite().all() and (gradient[..., 2:] == 0).all()
    assert log_depth_loss(predicted, torch.zeros(1, 1, 4)).item() == 0


def test_a_stage_goes_on_from_the_one_before(tmp_path: Path) -> None:
    names = [each.network_name() for each in _toy(tmp_path).plan()]
    baseline, gating, loop = (build_network(name, 3, seed).state_dict() for seed, name in enumerate(names[:3]))
    moved = dict(inherited(baseline, gating))
    for k in range(5):
        assert torch.equal(moved["gating.conv.weight"][k], baseline["gating.conv.weight"][0])
        assert moved[f"gating.conv.norms.{k}.weight"] is baseline["gating.conv.norms.0.weight"]
    assert moved["classifier.weight"] is baseline["classifier.weight"]
    moved = dict(inherited(gating, loop))
    assert moved["recurrent.gating.conv.weight"] is gating["gating.conv.weight"]
    assert moved["recurrent.gating.conv.norms.3.bias"] is gating["gating.conv.norms.3.bias"]
    assert moved["recurrent.gating.branch.bins.weight"] is gating["gating.branch.bins.weight"]
    assert set(loop) - set(moved) == {key for key in loop if "joined" in key or "mixed" in key}


def test_stopped_in_any_stage_the_recipe_goes_on_to_the_bit(tmp_path: Path) -> None:
    assert main(_toy(tmp_path / "whole")) == 0
    parts = {**vars(_toy(tmp_path / "parts"))}
    assert main(Interrupted(**parts)) == 128 + signal.SIGTERM
    assert load(tmp_path / "parts/2-gating").record.step == 2
    assert not list((tmp_path / "parts").glob("checkpoint-*"))
    first = digest(tmp_path / "parts/1-baseline")
    with pytest.raises(ValueError, match="give --resume to go on"):
        main(Toy(**parts))
    assert main(Toy(**{**parts, "resume": True})) == 0
    assert digest(tmp_path / "parts/1-baseline") == first
    for folder in ("2-gating", "3-loop1", "."):
        assert digest(tmp_path / "parts" / folder) == digest(tmp_path / "whole" / folder)
        assert lines(tmp_path / "parts" / folder) == lines(tmp_path / "whole" / folder)
    assert main(Toy(**{**parts, "resume": True})) == 0  # all is done: nothing more happens
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


@pytest.mark.parametrize("source", ["ground_truth", "attention", "average", "multiscale"])
def test_every_source_trains_and_is_evaluated(tmp_path: Path, source: Any) -> None:
    gate = replace(GATE, source=source, tied=source == "average")
    loop = replace(LOOP, eval_every=2)
    assert main(_toy(tmp_path, gate=gate, stages=("baseline", "gating"), steps=2, loop=loop)) == 0
    assert '"miou"' in (tmp_path / "metrics.jsonl").read_text()


def test_edges_are_fitted_to_the_training_images(tmp_path: Path) -> None:
    method = replace(_toy(tmp_path), gate=replace(GATE, fit=True), stages=("gating",))
    edges = method.build(3).net.edges
    depths = np.concatenate([DeepSquares().depth(index).ravel() for index in range(8)])
    shares = np.histogram(depths, [0, *edges.tolist(), 99])[0] / depths.size
    assert np.abs(shares - 0.2).max() < 0.02
    given = replace(_toy(tmp_path), gate=replace(GATE, edges=(1.0, 2.0, 3.0, 4.0)), stages=("gating",))
    assert given.build(3).net.edges.tolist() == [1, 2, 3, 4]


def test_depth_in_millimetres_is_refused_by_its_image(tmp_path: Path) -> None:
    stage = _toy(tmp_path).plan()[1]
    with pytest.raises(ValueError, match=r"the depth of squares/\d, squares/\d must be in metres; its median is"):
        next(stage.batches(DeepSquares(unit=0.001), 0))
    with pytest.raises(ValueError, match="this data set has no depth"):
        next(stage.batches(Squares(), 0))


def test_a_frozen_backbone_keeps_its_statistics(tmp_path: Path) -> None:
    first = build_network("gated-baseline-w16/mobilenetv3_small_050", 3)
    torch.save(first.state_dict(), tmp_path / "first.pth")
    start = begun("gated-w16/mobilenetv3_small_050", 3, 1, str(tmp_path / "first.pth"), (), True)
    assert start.transfer is not None and "classifier.weight" in start.transfer.matched
    net: Any = start.net.train()
    assert net.resting and not any(m.training for m in net.encoder.modules() if "BatchNorm" in type(m).__name__)
    assert net.reduced[1].training


@pytest.mark.slow
def test_classes_and_depth_are_learnt_by_heart(tmp_path: Path) -> None:
    optim = OptimConfig(lr=1e-2, optimizer="adamw", schedule="cosine", weight_decay=0.0)
    given: dict[str, Any] = {"steps": 100, "batch": 8, "size": "64x64", "augment": NOTHING, "optim": optim}
    weights, loop = GateWeights(classes=1.0, regression=1.0), replace(LOOP, save_every=1000)
    assert main(_toy(tmp_path, stages=("gating",), weights=weights, loop=loop, **given)) == 0
    net: Any = restored(load(tmp_path))
    images = torch.stack([torch.from_numpy(DeepSquares()[index][0]).permute(2, 0, 1) for index in range(8)])
    labels = np.stack([DeepSquares()[index][1] for index in range(8)])
    depth = torch.from_numpy(np.stack([DeepSquares().depth(index) for index in range(8)]))
    with torch.inference_mode():
        seen = IMAGENET(images)
        (found,) = net.every(seen)
        assert (net.shown(found, seen).argmax(1).numpy() == labels).mean() > 0.92  # a stride of 8
        truth = net.grid_depth(depth, found.gate)
        assert (found.bins.argmax(1) == quantised(truth, net.edges)).float().mean() > 0.8
        assert log_depth_loss(found.log_depth, truth) < 0.08
