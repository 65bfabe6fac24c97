"""One step of the loop: parts of a batch, rates by layer and step, running means, what a skipped step leaves alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fastseg.data.augment import IMAGENET
from fastseg.data.batches import Batch
from fastseg.distributed import Group
from fastseg.exact import exact
from fastseg.loop import Run, shares, take_step
from fastseg.losses import median_frequency_weights
from fastseg.methods import OptimConfig
from fastseg.nets import blocks, build_network
from fastseg.optim import optimiser, rate, rate_groups, set_rate
from tests.squares import LOOP, NETWORK, run_of

pytestmark = pytest.mark.torch
ALONE = Group(torch.device("cpu"))


def _batch(count: int = 4, step: int = 0) -> Batch:
    """Noise; each label has another number of ignored pixels, the last one nothing else."""
    random = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=random)
    labels = torch.randint(0, 3, (count, 64, 64), dtype=torch.uint8, generator=random)
    for index in range(count):
        labels[index, : 64 * (index + 1) // count] = 255
    return Batch(images, labels, tuple(f"noise/{index}" for index in range(count)), step, 0)


def _run(optim: OptimConfig, network: str = NETWORK, weight: Tensor | None = None, **changed: object) -> Run:
    method = run_of(Path("nowhere"), optim=optim, network=network, batch=4, loop=replace(LOOP, **changed))
    net = build_network(network, 3)
    return Run(method, net, network, IMAGENET, ALONE, weight)


def _without_batch_norm(net: nn.Module) -> None:
    """Batch statistics are fixed, and dropout, whose masks depend on the part's shape, is off."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.modules.dropout._DropoutNd):
            module.eval()
            module.train = lambda mode=True, own=module: own  # type: ignore[method-assign, misc]


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 0.25, 3.0])])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_step_in_parts_has_the_loss_and_gradient_of_the_whole_batch(parts: int, weight: Tensor | None) -> None:
    whole, split = (_run(OptimConfig(accumulate=count, clip=0.0), weight=weight) for count in (1, parts))
    for run in (whole, split):
        _without_batch_norm(run.net)
    first, second = take_step(whole, _batch()), take_step(split, _batch())
    # float32: the same terms summed in another order; 1e-5 of the largest is some hundred times its rounding
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-5)
    for one, other in zip(whole.net.parameters(), split.net.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        largest = float(one.grad.abs().max())
        torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-5 * largest + 1e-9)


def test_parts_count_by_their_labelled_pixels_not_alike() -> None:
    labels = torch.tensor([[0, 0, 0, 255], [1, 255, 255, 255], [255, 255, 255, 255]])
    assert [float(share) for share in shares(labels.split(1), None, ALONE) if share is not None] == [0.75, 0.25, 0.0]
    weighted = shares(labels.split(1), torch.tensor([1.0, 3.0]), ALONE)
    assert [float(share) for share in weighted if share is not None] == [0.5, 0.5, 0.0]
    assert [float(share) for share in shares([labels[2:], labels[2:]], None, ALONE) if share is not None] == [0.0, 0.0]


def test_a_batch_without_a_label_gives_zero_and_finite_weights_in_parts_too() -> None:
    for parts in (1, 2):
        run = _run(OptimConfig(accumulate=parts, lr=0.1))
        batch = replace(_batch(), labels=torch.full((4, 64, 64), 255, dtype=torch.uint8))
        figures = take_step(run, batch)
        assert figures["loss"] == 0 and figures["grad_norm"] == 0 and not figures["skipped"]
        assert all(bool(value.isfinite().all()) for value in run.net.state_dict().values())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_skipped_step_changes_no_bit(optimizer: str) -> None:
    run = _run(OptimConfig(optimizer=optimizer, ema=0.9))  # type: ignore[arg-type]
    take_step(run, _batch())
    run.step = 1
    assert run.mean is not None
    before = [value.clone() for value in _all_of(run)]
    run.normalisation = replace(IMAGENET, std=(0.0, 0.0, 0.0))  # images of NaN and infinity
    assert take_step(run, _batch(step=1))["skipped"] == 1
    assert all(torch.equal(old, new) for old, new in zip(before, _all_of(run), strict=True))
    run.normalisation = IMAGENET
    assert not take_step(run, _batch(step=1))["skipped"]
    assert not all(torch.equal(old, new) for old, new in zip(before, _all_of(run), strict=True))


def _all_of(run: Run) -> list[Tensor]:
    assert run.mean is not None
    state = [value for values in run.optimizer.state.values() for value in values.values() if value is not None]
    return [*run.net.state_dict().values(), *run.mean.split(run.net)[0].values(), *state]


def test_the_running_mean_follows_its_formula_and_the_statistics_are_the_networks() -> None:
    run = _run(OptimConfig(ema=0.5, lr=0.1))
    assert run.mean is not None
    name, weight = next((n, p) for n, p in run.net.named_parameters() if n.endswith("weight"))
    expected = weight.detach().double().clone()
    for step in range(8):
        take_step(run, _batch(step=step))
        run.step = step + 1
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach().double()
    means, raw = run.mean.split(run.net)
    torch.testing.assert_close(means[name].double(), expected, rtol=1e-5, atol=1e-7)  # float32 against float64
    assert torch.equal(raw[f"raw.{name}"], weight) and not torch.equal(means[name], weight)
    buffers = dict(run.net.named_buffers())
    assert all(torch.equal(means[key], value) for key, value in buffers.items()) and len(buffers) > 50


def test_inside_the_running_mean_the_network_has_it_and_afterwards_its_own() -> None:
    run = _run(OptimConfig(ema=0.9, lr=0.1))
    take_step(run, _batch())
    assert run.mean is not None
    means, own = run.mean.split(run.net)[0], {key: value.clone() for key, value in run.net.state_dict().items()}
    with run.best():
        assert all(torch.equal(value, means[key]) for key, value in run.net.state_dict().items())
    assert all(torch.equal(value, own[key]) for key, value in run.net.state_dict().items())


def test_the_step_schedule_falls_at_its_steps_after_a_warm_up() -> None:
    config = OptimConfig(lr=1.0, schedule="step", step_at=(4, 6), step_factor=0.1, warmup=2)
    assert [rate(step, 8, config) for step in range(8)] == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [rate(step, 8, replace(config, step_at=())) for step in (2, 5, 6, 7)] == pytest.approx([1, 1, 0.1, 0.1])


@pytest.mark.parametrize("network", ["segnet/vgg11_bn", NETWORK, "unet/resnet18", "dpt/vit_tiny_patch16_224"])
def test_rates_fall_from_the_decoder_to_the_stem(network: str) -> None:
    net = build_network(network, 3)
    groups = rate_groups(net, 0.5)
    factor = {id(parameter): factor for factor, parameters in groups for parameter in parameters}
    assert set(factor) == {id(parameter) for parameter in net.parameters()}
    parts = blocks(net)
    for index, part in enumerate(parts):
        here = {factor[id(parameter)] for module in part for parameter in module.parameters()}
        assert here <= {0.5 ** (len(parts) - index)}
    encoder = {id(parameter) for parameter in net.encoder.parameters()}  # type: ignore[union-attr]
    assert {factor[id(parameter)] for parameter in net.parameters() if id(parameter) not in encoder} == {1.0}
    assert max(factor[key] for key in encoder) == 0.5 and min(factor.values()) == 0.5 ** len(parts)


def test_each_group_moves_by_its_own_rate() -> None:
    net = build_network(NETWORK, 3)
    optimizer = optimiser(net, OptimConfig(layer_decay=0.5, momentum=0.0, weight_decay=0.0))
    before = {id(parameter): parameter.detach().clone() for parameter in net.parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_rate(optimizer, 0.1)
    optimizer.step()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            moved = before[id(parameter)] - parameter.detach()
            torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * group["factor"]), rtol=0, atol=1e-6)


def test_class_weights_change_the_loss() -> None:
    weight = median_frequency_weights(torch.tensor([1000, 10, 10]))
    plain, weighted = _run(OptimConfig()), _run(OptimConfig(), weight=weight)
    assert take_step(plain, _batch())["loss"] != take_step(weighted, _batch())["loss"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lr": 0.0}, "optim.lr must be a positive number"),
        ({"lr": float("nan")}, "optim.lr must be a positive number"),
        ({"ema": 1.0}, r"optim.ema must lie in \[0, 1\)"),
        ({"layer_decay": 0.0}, r"optim.layer_decay must lie in \(0, 1\]"),
        ({"accumulate": 0}, "optim.accumulate must be at least 1"),
        ({"step_at": (3,)}, "optim.step_at goes with optim.schedule step"),
        ({"schedule": "step", "step_at": (6, 3)}, "must be rising, positive steps"),
        ({"warmup": -1}, "optim.warmup must not be negative"),
    ],
)
def test_options_that_cannot_be_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        OptimConfig(**change)  # type: ignore[arg-type]


def test_more_parts_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be more than the 2 images of a batch; got 3"):
        run_of(Path("nowhere"), optim=OptimConfig(accumulate=3))


def test_deterministic_mode_is_on_inside_and_as_before_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen: Callable[[], tuple[bool, ...]] = lambda: (  # noqa: E731
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        "CUBLAS_WORKSPACE_CONFIG" in __import__("os").environ,
    )
    before = seen()
    with exact(True):
        assert seen() == (True, True, True)
    assert seen() == before == (False, False, False)
    with pytest.raises(ValueError, match=r"loop\.deterministic does not go with this network"), exact(True):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
        raise RuntimeError("put_ does not have a deterministic implementation, but you set. More words")
    assert seen() == before


def test_a_segnet_has_the_same_step_in_deterministic_mode() -> None:
    plain, same = (_run(OptimConfig(), network="segnet/vgg11_bn") for _ in range(2))
    figures = take_step(plain, _batch(2))
    with exact(True):
        assert take_step(same, _batch(2)) == figures
    pairs = zip(plain.net.state_dict().values(), same.net.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_under_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = functools.partial(torch.compile, backend="aot_eager")  # traced whole, without minutes of a C++ compiler
    monkeypatch.setattr(torch, "compile", eager)
    plain, compiled = _run(OptimConfig(lr=0.01)), _run(OptimConfig(lr=0.01), compile=True)
    for step in range(2):
        expected, found = take_step(plain, _batch(step=step)), take_step(compiled, _batch(step=step))
        # float32 sums in another order, through batch normalisation and a step
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert list(compiled.net.state_dict()) == list(plain.net.state_dict())
