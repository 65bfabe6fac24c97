"""A branch through a label autoencoder: what it computes, that training alone has it, that its frozen part rests."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from fastseg.checkpoint import load
from fastseg.inference import restored
from fastseg.losses import labelled_mass
from fastseg.methods import OptimConfig, RegulariserConfig
from fastseg.methods.cross_entropy import cross_entropy
from fastseg.methods.regulariser import branch_of, regularised_loss
from fastseg.methods.regulariser_losses import activation_loss, label_loss
from fastseg.methods.structure import LabelStructure
from fastseg.nets import build_network, looked
from fastseg.nets.label_autoencoder import LabelAutoencoder, one_hot
from fastseg.nets.regulariser import DecoderBranch, EncoderBranch, digest_of
from fastseg.train import fit
from tests.squares import LOOP, NETWORK, Squares, digest, lines, run_of

pytestmark = pytest.mark.torch
KINDS = (
    {"kind": "decoder"},
    {"kind": "decoder", "loss": "mse", "tap": "penultimate"},
    {"kind": "decoder", "weights": "unfrozen"},
    {"kind": "decoder", "weights": "random"},
    {"kind": "encoder"},
)


def _autoencoder(out: Path, size: str = "32x32", seed: int = 0) -> str:
    method = LabelStructure("folder", "nowhere", out, widths=32, size=size, steps=2, batch=2, seed=seed, loop=LOOP)
    assert fit(method, Squares()) == 0
    return str(out)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _autoencoder(tmp_path_factory.mktemp("structure") / "autoencoder")


def _config(autoencoder: str, **changed: Any) -> RegulariserConfig:
    return RegulariserConfig(**{"kind": "decoder", "autoencoder": autoencoder, **changed})


@pytest.mark.parametrize("changed", KINDS)
def test_what_is_saved_is_the_plain_network_and_what_is_frozen_rests(
    changed: dict[str, Any], autoencoder: str, tmp_path: Path
) -> None:
    method = run_of(tmp_path / "run", regulariser=_config(autoencoder, **changed))
    assert fit(method, Squares()) == 0
    found, plain = load(method.out, state=True), build_network(NETWORK, 3)
    assert found.record.network == NETWORK and found.weights.keys() == plain.state_dict().keys()
    assert [type(m) for m in restored(found).modules()] == [type(m) for m in plain.modules()]
    proof = json.loads((method.out / "regulariser.json").read_text())
    frozen = changed.get("weights", "frozen") == "frozen"
    assert proof["sha256_before"] == proof["sha256_now"] and (proof["sha256_now"] is not None) == frozen
    if frozen:
        source = restored(load(Path(autoencoder)))
        assert proof["sha256_now"] == digest_of(source.get_submodule(changed["kind"]))


def test_a_decoder_that_is_not_frozen_learns(autoencoder: str, tmp_path: Path) -> None:
    before = load(Path(autoencoder)).weights["decoder.convolutions.0.weight"]
    learned = {}
    for weights in ("frozen", "unfrozen", "random"):
        method = run_of(tmp_path / weights, regulariser=_config(autoencoder, weights=weights))
        assert fit(method, Squares()) == 0
        learned[weights] = load(method.out, state=True).state["regulariser.decoder.convolutions.0.weight"]
    assert torch.equal(learned["frozen"], before)
    near, far = ((learned[name] - before).abs().mean() for name in ("unfrozen", "random"))
    assert 0 < near < 0.5 * far


@pytest.mark.parametrize("changed", [KINDS[0], KINDS[2], KINDS[4]])
def test_a_run_goes_on_to_the_bit(changed: dict[str, Any], autoencoder: str, tmp_path: Path) -> None:
    optim = OptimConfig(optimizer="adamw", ema=0.9)
    whole = run_of(tmp_path / "whole", regulariser=_config(autoencoder, **changed), optim=optim)
    parts = replace(whole, out=tmp_path / "parts")
    assert fit(whole, Squares()) == 0
    assert fit(replace(parts, steps=3), Squares()) == 0
    assert fit(replace(parts, resume=True), Squares()) == 0
    assert digest(parts.out) == digest(whole.out) and lines(parts.out) == lines(whole.out)


def test_a_run_does_not_go_on_with_another_autoencoder_than_it_began_with(tmp_path: Path) -> None:
    first, other = (_autoencoder(tmp_path / name, seed=seed) for seed, name in enumerate(("maps", "other")))
    method = run_of(tmp_path / "run", steps=3, regulariser=_config(first))
    assert fit(method, Squares()) == 0
    shutil.rmtree(first)
    shutil.copytree(other, first)
    with pytest.raises(ValueError, match="frozen part of the regulariser is not what it was when this run began"):
        fit(replace(method, steps=6, resume=True), Squares())


@pytest.mark.slow
@pytest.mark.parametrize("changed", [KINDS[0], KINDS[2], KINDS[4]])
def test_a_compiled_training_has_the_same_losses(
    changed: dict[str, Any], autoencoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = functools.partial(torch.compile, backend="aot_eager")  # traced whole, without minutes of a C++ compiler
    monkeypatch.setattr(torch, "compile", traced)
    plain = run_of(tmp_path / "plain", steps=3, regulariser=_config(autoencoder, **changed))
    compiled = replace(plain, out=tmp_path / "compiled", loop=replace(LOOP, compile=True))
    assert fit(plain, Squares()) == fit(compiled, Squares()) == 0
    expected, found = ([line["loss"] for line in lines(run.out)] for run in (plain, compiled))
    # float32 sums in another order, through batch normalisation and three steps
    assert found == pytest.approx(expected, rel=1e-3)
    first, second = (load(run.out, state=True) for run in (plain, compiled))
    assert first.weights.keys() == second.weights.keys() and first.state.keys() == second.state.keys()
    proofs = [json.loads((run.out / "regulariser.json").read_text()) for run in (plain, compiled)]
    assert proofs[0]["sha256_before"] == proofs[1]["sha256_now"]  # both None where it learns


def _branched(config: RegulariserConfig, network: str = NETWORK, size: str = "32x32") -> torch.nn.Module:
    return run_of(Path("run"), network=network, size=size, regulariser=config).build(3).net.eval()


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 32, 32), generator=random, dtype=torch.uint8)
    labels[:, :4] = 255
    return torch.randn(2, 3, 32, 32, generator=random), labels


@pytest.mark.parametrize("network", [NETWORK, "hypercolumn/vgg11"])
def test_the_loss_is_the_networks_and_the_weighted_branches(network: str, autoencoder: str) -> None:
    config = _config(autoencoder, weight=2.0)
    net, (images, labels) = _branched(config, network), _batch()
    branch, found = branch_of(net), looked(net, images)
    assert isinstance(branch, DecoderBranch) and found.encoder[-1].shape[1] > 0
    tap = next(x for x in reversed(found.encoder) if x.shape[-1] == 2)  # of 32 pixels a sixteenth
    told = branch.decoder(functional.conv2d(tap, branch.project.weight, branch.project.bias))
    expected = functional.cross_entropy(found.logits, labels.long(), ignore_index=255)
    expected = expected + 2 * functional.cross_entropy(told, labels.long(), ignore_index=255)
    torch.testing.assert_close(regularised_loss(net, images, labels, None, config), expected)


def test_the_gradient_reaches_the_network_through_the_frozen_decoder(autoencoder: str) -> None:
    config, (images, labels) = _config(autoencoder), _batch()
    net = _branched(config)
    first = next(net.encoder.parameters())  # type: ignore[union-attr]
    both = torch.autograd.grad(regularised_loss(net, images, labels, None, config), first)[0]
    plain = torch.autograd.grad(cross_entropy(net, images, labels, None), first)[0]
    assert not torch.allclose(both, plain)
    branch = branch_of(net)
    assert isinstance(branch, DecoderBranch) and not any(p.requires_grad for p in branch.decoder.parameters())


def test_squares_are_compared_over_the_labelled_pixels() -> None:
    logits, (_, labels) = torch.randn(2, 3, 32, 32), _batch()
    wrong = (logits.softmax(1) - one_hot(labels, 3)).square().sum(1)
    torch.testing.assert_close(label_loss(logits, labels, None, True), wrong[:, 4:].mean())
    assert label_loss(logits, torch.full_like(labels, 255), None, True) == 0
    weight = torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(label_loss(logits, labels, weight, True), wrong[labels == 1].mean())


def test_a_batch_in_parts_has_the_loss_of_the_whole() -> None:
    logits, labels = torch.randn(4, 3, 32, 32), torch.randint(0, 3, (4, 32, 32), dtype=torch.uint8)
    labels[0, :20], labels[3] = 255, 255
    pairs = [(torch.randn(4, 8, side, side), torch.randn(4, 8, side, side)) for side in (32, 8)]
    for weight in (None, torch.tensor([0.5, 2.0, 1.0])):
        shares = torch.stack([labelled_mass(part, weight) for part in labels.chunk(2)]) / labelled_mass(labels, weight)
        for squares in (False, True):
            parts = [label_loss(x, y, weight, squares) for x, y in zip(logits.chunk(2), labels.chunk(2), strict=True)]
            torch.testing.assert_close((torch.stack(parts) * shares).sum(), label_loss(logits, labels, weight, squares))
        halves = [[(told[at], target[at]) for told, target in pairs] for at in (slice(2), slice(2, 4))]
        parts = [activation_loss(half, y, weight) for half, y in zip(halves, labels.chunk(2), strict=True)]
        torch.testing.assert_close((torch.stack(parts) * shares).sum(), activation_loss(pairs, labels, weight))


def test_activations_are_told_from_the_hypercolumn(autoencoder: str) -> None:
    net, (images, labels) = _branched(_config(autoencoder, kind="encoder"), "hypercolumn/vgg11"), _batch()
    branch, found = branch_of(net), looked(net, images)
    assert isinstance(branch, EncoderBranch)
    (told, target), (coarse, coarse_target) = branch(found, labels)
    source = restored(load(Path(autoencoder)))
    assert isinstance(source, LabelAutoencoder)
    torch.testing.assert_close(target, source.encoder(labels).conv1)
    torch.testing.assert_close(coarse_target, source.encoder(labels).conv3)
    grown = [functional.interpolate(x, (32, 32), mode="bilinear") for x in found.encoder]
    parts = list(branch.project[0].children())
    weight = torch.cat([part.get_parameter("weight") for part in parts], 1)
    expected = functional.conv2d(torch.cat(grown, 1), weight, parts[0].get_parameter("bias"))
    torch.testing.assert_close(told, expected, rtol=1e-4, atol=1e-5)
    error = 32 * (told - target)[:, :, 4:].square().mean() + 32 * (coarse - coarse_target)[:, :, 1:].square().mean()
    torch.testing.assert_close(activation_loss([(told, target), (coarse, coarse_target)], labels, None), error / 64)


@pytest.mark.parametrize(
    "network", ["segnet/vgg11_bn", "fpn/convnext_atto", "pspnet/resnet18", "hypercolumn/densenet67"]
)
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_networks_of_every_kind_take_it_at_sizes_that_divide_by_nothing(
    network: str, kind: str, tmp_path: Path
) -> None:
    config = _config(_autoencoder(tmp_path / "autoencoder", "40x56"), kind=kind)
    net = _branched(config, network, "40x56")
    labels = torch.randint(0, 3, (1, 40, 56), dtype=torch.uint8)
    loss = regularised_loss(net, torch.randn(1, 3, 40, 56), labels, None, config)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite() and branch_of(net) is not None
    assert all(p.grad is not None for p in branch_of(net).project.parameters())  # type: ignore[union-attr]


def test_mistakes_are_told_in_one_sentence(autoencoder: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"label autoencoder of 3 classes at 32x32, and this training needs one of 5"):
        run_of(tmp_path, regulariser=_config(autoencoder)).build(5)
    with pytest.raises(ValueError, match=r"one of 3 classes at 64x32: train it on these labels with --size 64x32"):
        run_of(tmp_path, regulariser=_config(autoencoder), size="64x32").build(3)
    with pytest.raises(
        ValueError, match=r"tap 'layer9' does not exist; this network offers encoder.1 \(16 x 16 x 16\)"
    ):
        run_of(tmp_path, regulariser=_config(autoencoder, tap="layer9")).build(3)
    with pytest.raises(ValueError, match=r"regulariser.autoencoder: no checkpoint in .*; a run's folder"):
        run_of(tmp_path, regulariser=_config(str(tmp_path))).build(3)
    assert fit(run_of(tmp_path / "plain"), Squares()) == 0
    with pytest.raises(ValueError, match=r"is of train segment; regulariser.autoencoder is a label-autoencoder's run"):
        run_of(tmp_path, regulariser=_config(str(tmp_path / "plain"))).build(3)
    with pytest.raises(ValueError, match="trained on the classes ground, red, green, and these images have a, b, c"):
        others = Squares()
        others.class_names = ("a", "b", "c")
        fit(run_of(tmp_path / "run", regulariser=_config(autoencoder)), others)


def test_settings_that_do_not_go_together_are_told() -> None:
    for changed in ({"kind": "decoder"}, {"kind": "none", "autoencoder": "run"}):
        with pytest.raises(ValueError, match="go together"):
            RegulariserConfig(**changed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must not be negative; got -1"):
        RegulariserConfig(weight=-1)
    for changed in ({"loss": "cross_entropy"}, {"weights": "random"}):
        with pytest.raises(ValueError, match="encoder goes with loss mse and frozen weights"):
            RegulariserConfig("encoder", "run", **changed)  # type: ignore[arg-type]


def test_the_command_line_names_the_kind_alone(autoencoder: str, tmp_path: Path) -> None:
    from fastseg.cli import run
    from fastseg.methods.segment import Segment

    made: list[Segment] = []
    words = ["--data", "folder", "--root", "x", "--out", str(tmp_path), "--regulariser", "decoder"]
    words += ["--regulariser.autoencoder", autoencoder, "--regulariser.weight=0.25"]
    assert run(Segment, lambda config: made.append(config) or 0, words) == 0  # type: ignore[func-returns-value]
    assert made[0].regulariser == _config(autoencoder, weight=0.25)
