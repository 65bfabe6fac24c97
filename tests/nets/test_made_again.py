from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastseg.nets import build_network, depth, disparities, made_again
from fastseg.nets.pose import PoseNet

pytestmark = pytest.mark.torch


def plain(part: nn.Module, *given: Tensor | None) -> Tensor:
    """The part, kept for its backward as torch does it."""
    found: Tensor = part(*given)
    return found


def keep_everything(patch: pytest.MonkeyPatch) -> None:
    for module in (made_again, depth):
        patch.setattr(module, "made_again", plain)


def video_loss(net: Any, images: Tensor) -> Tensor:
    motion = made_again.made_again(net.pose, images, images.flip(0))
    return torch.stack([each.square().mean() for each in [*disparities(net, images), motion]]).sum()


def two_steps(net: nn.Module) -> dict[str, Tensor]:
    """Losses, gradients, weights and batch statistics of two steps."""
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    optimizer, found = torch.optim.SGD(net.parameters(), 0.01), {}
    for step in range(2):
        optimizer.zero_grad()
        loss = video_loss(net, images)
        torch.autograd.backward(loss)
        optimizer.step()
        found[f"loss {step}"] = loss.detach()
    gradients = {f"d {name}": each.grad for name, each in net.named_parameters() if each.grad is not None}
    return {**found, **gradients, **net.state_dict()}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv3_small_050"])
def test_what_is_made_again_changes_no_bit_of_losses_gradients_and_batch_statistics(
    encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = two_steps(build_network(f"depth-pose/skip/{encoder}", 1, 3))
    keep_everything(monkeypatch)
    whole = two_steps(build_network(f"depth-pose/skip/{encoder}", 1, 3))
    assert ours.keys() == whole.keys() and int(ours["pose.encoder.model.bn1.num_batches_tracked"]) == 2
    assert [name for name, each in ours.items() if not torch.equal(each, whole[name])] == []


def kept_bytes(net: nn.Module, images: Tensor) -> int:
    """Of tensors that a forward in training keeps for its backward, weights among them."""
    kept: dict[int, int] = {}

    def note(each: Tensor) -> Tensor:
        kept[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
        return each

    with torch.autograd.graph.saved_tensors_hooks(note, lambda each: each):
        loss = video_loss(net, images)
    assert loss.requires_grad
    return sum(kept.values()) - sum(each.nbytes for each in net.parameters())


def test_a_forward_keeps_less_than_half_of_what_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = build_network("depth-pose/skip/resnet18", 1), torch.rand(4, 3, 96, 160)
    ours = kept_bytes(net, images)
    keep_everything(monkeypatch)
    assert ours < kept_bytes(net, images) / 2


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50", "convnext_atto"])
def test_an_encoder_gives_the_same_maps(encoder: str) -> None:
    net = build_network(f"skip/{encoder}", 1).encoder
    images = torch.rand(2, 3, 64, 96)
    maps = zip(made_again.encoded(net, images), net(images), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in maps)


def test_the_gradient_can_be_taken_twice() -> None:
    net, images = PoseNet(), torch.rand(2, 3, 64, 96)
    loss = made_again.made_again(net, images, images.flip(0)).square().sum()
    first, second = (torch.autograd.grad(loss, list(net.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert int(net.encoder.model.bn1.num_batches_tracked) == 1  # type: ignore[union-attr, arg-type]


def test_nothing_is_made_again_in_evaluation_without_gradients_or_under_compile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("made again")

    net, images = build_network("depth-pose/skip/resnet18", 1), torch.rand(2, 3, 64, 96)
    monkeypatch.setattr(made_again, "checkpoint", refuse)
    with pytest.raises(AssertionError, match="made again"):
        video_loss(net, images)
    with torch.no_grad():
        video_loss(net, images)
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        video_loss(net, images)
    video_loss(net.eval(), images)
