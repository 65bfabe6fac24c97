from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from fastseg.checkpoint import load, save
from fastseg.cli import run
from fastseg.data.augment import NOTHING, AugmentConfig
from fastseg.data.batches import Batch, Scene
from fastseg.frames import LabelledImages
from fastseg.methods import OptimConfig, TransferConfig
from fastseg.methods.segment import Segment
from fastseg.nets import blocks, build_network
from fastseg.resume import plain_config
from fastseg.train import fit
from tests.squares import LOOP, NETWORK, Squares, digest, lines, run_of

pytestmark = pytest.mark.torch


def test_eight_images_are_learnt_by_heart(tmp_path: Path) -> None:
    loop = replace(LOOP, save_every=1000, eval_every=1000)
    optim = OptimConfig(lr=1e-2, optimizer="adamw", schedule="cosine")
    method = run_of(tmp_path, steps=60, batch=8, size="64x64", augment=NOTHING, optim=optim, loop=loop)
    assert fit(method, Squares(), Squares()) == 0
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["global_accuracy"] > 0.95 and last["miou"] > 0.8


@dataclass(frozen=True)
class Interrupted(Segment):
    """Tells its own process to stop while the batch of step 3 is awaited."""

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in super().batches(examples, start, rank, world):
            if batch.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


@pytest.mark.parametrize(
    ("optimizer", "workers"), [("sgd", (0, 0)), ("sgd", (2, 0)), ("sgd", (0, 2)), ("adamw", (0, 0))]
)
def test_a_stopped_run_resumes_to_the_bit(
    tmp_path: Path, workers: tuple[int, int], optimizer: Literal["sgd", "adamw"]
) -> None:
    network = "fpn/mobilenetv3_small_050"  # it has dropout
    optim = OptimConfig(optimizer=optimizer, schedule="poly", warmup=2)
    whole = run_of(tmp_path / "whole", network=network, optim=optim)
    assert fit(whole, Squares()) == 0
    parts = {**vars(whole), "out": tmp_path / "parts", "loop": replace(LOOP, workers=workers[0])}
    before = signal.getsignal(signal.SIGTERM)  # Ray leaves its own, when a test before this one started it
    assert fit(Interrupted(**parts), Squares()) == 128 + signal.SIGTERM
    assert load(tmp_path / "parts").record.step == 3
    assert signal.getsignal(signal.SIGTERM) == before
    parts |= {"resume": True, "loop": replace(LOOP, workers=workers[1])}
    assert fit(Segment(**parts), Squares()) == 0
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


class Killed(BaseException):
    """Stands for SIGKILL."""


@dataclass(frozen=True)
class Dying(Segment):
    """Ends without a word after step 5, when step 3 was the last one saved."""

    def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in super().batches(examples, start, rank, world):
            if batch.step == 5:
                raise Killed
            yield batch


def test_a_killed_run_loses_only_the_steps_since_its_last_save(tmp_path: Path) -> None:
    whole = run_of(tmp_path / "whole")
    fit(whole, Squares())
    parts = {**vars(whole), "out": tmp_path / "parts"}
    with pytest.raises(Killed):
        fit(Dying(**parts), Squares())
    assert load(tmp_path / "parts").record.step == 3
    assert fit(Segment(**parts | {"resume": True}), Squares()) == 0
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_resuming_with_something_changed_names_it(tmp_path: Path) -> None:
    method = run_of(tmp_path, steps=3)
    fit(method, Squares())
    changes: list[dict[str, object]] = [
        {"batch": 4},
        {"optim": OptimConfig(lr=0.5)},
        {"network": "unet/resnet18"},
        {"seed": 3},
        {"root": Path("elsewhere")},
        {"augment": AugmentConfig(flip=0.0)},
        {"optim": OptimConfig(weight_decay=0.0)},
    ]
    names = ["batch", r"optim\.lr", "network", "seed", "root", r"augment\.flip", r"optim\.weight_decay"]
    for change, name in zip(changes, names, strict=True):
        with pytest.raises(ValueError, match=f"cannot resume .*: {name} was"):
            fit(run_of(tmp_path, steps=3, resume=True, **change), Squares())
    with pytest.raises(ValueError, match="images or classes are not the ones"):
        fit(run_of(tmp_path, steps=3, resume=True), Squares(7))


def test_a_key_that_an_older_checkpoint_lacks_counts_as_its_default(tmp_path: Path) -> None:
    fit(run_of(tmp_path, steps=3), Squares())
    found = load(tmp_path, state=True)
    older = {**found.record.config, "augment": {k: v for k, v in found.record.config["augment"].items() if k != "hue"}}
    save(tmp_path, replace(found.record, config=older), found.weights, found.state)
    assert fit(run_of(tmp_path, steps=4, resume=True), Squares()) == 0
    save(tmp_path, replace(found.record, config=older), found.weights, found.state)
    with pytest.raises(ValueError, match=rf"augment\.hue was {AugmentConfig().hue} and is now 0\.4"):
        fit(run_of(tmp_path, steps=4, resume=True, augment=AugmentConfig(hue=0.4)), Squares())


@pytest.mark.parametrize("how", [TransferConfig(freeze=2), TransferConfig(mode="cross_stitch", own="random")])
def test_resuming_does_not_need_what_the_run_started_from(tmp_path: Path, how: TransferConfig) -> None:
    fit(run_of(tmp_path / "first", network="unet/resnet10t", steps=1), Squares())
    fixed = {"network": "unet/resnet10t", "init_from": str(tmp_path / "first"), "transfer": how}
    assert fit(run_of(tmp_path / "whole", steps=3, **fixed), Squares()) == 0
    assert fit(run_of(tmp_path / "parts", steps=2, **fixed), Squares()) == 0
    shutil.rmtree(tmp_path / "first")
    assert fit(run_of(tmp_path / "parts", steps=3, resume=True, **fixed), Squares()) == 0
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_a_finished_run_is_left_alone_and_a_constant_rate_can_go_on(tmp_path: Path) -> None:
    fit(run_of(tmp_path, steps=3), Squares())
    before = digest(tmp_path)
    assert fit(run_of(tmp_path, steps=3, resume=True), Squares()) == 0
    assert digest(tmp_path) == before
    assert fit(run_of(tmp_path, steps=4, resume=True), Squares()) == 0
    assert load(tmp_path).record.step == 4


def test_a_folder_with_a_run_is_not_written_over(tmp_path: Path) -> None:
    fit(run_of(tmp_path, steps=3), Squares())
    with pytest.raises(ValueError, match="already holds checkpoint-3; give --resume"):
        fit(run_of(tmp_path, steps=3), Squares())


@dataclass(frozen=True)
class Poisoned(Segment):
    """Its loss is not a number from step 4 on."""

    def loss(
        self, net: nn.Module, images: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None,
        scene: Scene | None = None,
    ) -> torch.Tensor:  # fmt: skip
        good = super().loss(net, images, labels, weight)
        return good * (float("nan") if self.poison(net) else 1.0)

    def poison(self, net: nn.Module) -> bool:
        counts = [value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")]
        return int(counts[0]) > 4


def test_non_finite_losses_change_nothing_and_ten_in_a_row_stop_the_run(tmp_path: Path) -> None:
    good = run_of(tmp_path / "good", steps=4, loop=replace(LOOP, save_every=1))
    fit(good, Squares())
    bad = {**vars(good), "out": tmp_path / "bad", "steps": 50}
    assert fit(Poisoned(**bad), Squares()) == 1
    assert load(tmp_path / "bad").record.step == 13  # four good steps, nine skipped, the tenth stops
    assert load(tmp_path / "bad").record.progress["skipped"] == 9
    assert digest(tmp_path / "bad") == digest(tmp_path / "good")
    named = json.loads((tmp_path / "bad" / "nonfinite.json").read_text())
    assert [entry["step"] for entry in named] == list(range(4, 14))
    assert all(set(entry["ids"]) <= set(Squares().ids()) for entry in named)


def test_an_absurd_learning_rate_leaves_finite_weights(tmp_path: Path) -> None:
    method = run_of(tmp_path, steps=40, optim=OptimConfig(lr=1e6, clip=0.0), loop=replace(LOOP, save_every=1))
    assert fit(method, Squares()) in (0, 1)
    assert all(bool(value.isfinite().all()) for value in load(tmp_path).weights.values())


def test_what_cannot_be_trained_is_refused_before_the_first_step(tmp_path: Path) -> None:
    cases: list[tuple[Squares, dict[str, object], str]] = [
        (Squares(value=7), {}, "'squares/0' holds class 7; there are 3 classes"),
        (Squares(value=255), {}, "all are 255"),
        (Squares(3), {"batch": 4}, "there are 3"),
        (Squares(), {"transfer": TransferConfig(freeze=2)}, "give --init-from as well"),
    ]
    for examples, change, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            fit(run_of(tmp_path, **change), examples)
    assert not list(tmp_path.iterdir())


def test_no_image_to_evaluate_on_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"loop\.eval_split val holds no labelled image"):
        fit(run_of(tmp_path, loop=replace(LOOP, eval_every=2)), Squares(), Squares(0))
    assert not list(tmp_path.iterdir())


def test_classes_without_a_pixel_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(run_of(tmp_path, steps=1), Squares(value=1))
    assert "2 of 3 classes have no pixel to learn from: ground, green" in capsys.readouterr().out


def test_frozen_blocks_are_the_checkpoints_own_after_training(tmp_path: Path) -> None:
    fit(run_of(tmp_path / "first", steps=3), Squares())
    source = load(tmp_path / "first")
    start = {"init_from": str(tmp_path / "first"), "transfer": TransferConfig(freeze=2)}
    method = run_of(tmp_path / "second", steps=4, optim=OptimConfig(lr=0.1), **start)
    fit(method, Squares(), None)
    after = load(tmp_path / "second", state=True)
    frozen, free = _split(after.weights, 2)
    assert len(frozen) > 10 and all(torch.equal(after.weights[key], source.weights[key]) for key in frozen)
    changed = [key for key in free if not torch.equal(after.weights[key], source.weights[key])]
    assert len(changed) > 0.9 * len(free)
    trained = {int(key.partition(".")[0]) for key in after.state}
    assert len(trained) == sum(1 for p in _frozen_net(2).parameters() if p.requires_grad)
    report = json.loads((tmp_path / "second" / "transfer.json").read_text())
    assert all(key.startswith("segmentation_head.") for key in report["missing"]) and report["matched"]


def _frozen_net(count: int) -> nn.Module:
    net = build_network(NETWORK, 3)
    for module in (module for part in blocks(net)[:count] for module in part):
        module.requires_grad_(False)
    return net


def _split(weights: dict[str, torch.Tensor], count: int) -> tuple[list[str], list[str]]:
    """The keys of the first `count` blocks, and the others."""
    net = _frozen_net(count)
    inside = {id(module) for part in blocks(net)[:count] for top in part for module in top.modules()}
    owners = {name: id(module) in inside for name, module in net.named_modules()}
    frozen = [key for key in weights if owners[key.rpartition(".")[0]]]
    return frozen, [key for key in weights if key not in set(frozen)]


def test_bf16_on_the_cpu_and_median_weights_train(tmp_path: Path) -> None:
    changed = {"loop": replace(LOOP, precision="bf16"), "optim": OptimConfig(class_weights="median")}
    assert fit(run_of(tmp_path, steps=3, **changed), Squares()) == 0
    found = load(tmp_path)
    assert all(value.dtype != torch.bfloat16 for value in found.weights.values())
    assert all(line["loss"] > 0 for line in lines(tmp_path))


def test_the_resolved_configuration_stands_beside_the_output(tmp_path: Path) -> None:
    fit(run_of(tmp_path, steps=3), Squares())
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["optim"]["momentum"] == 0.9 and config["size"] == "32x32"
    seen: list[Segment] = []
    assert run(Segment, lambda again: seen.append(again) or 0, ["--config", str(tmp_path / "config.json")]) == 0
    assert plain_config(seen[0]) == config
    record = load(tmp_path).record
    assert record.classes == Squares.class_names and record.network == NETWORK and record.size == (32, 32)
