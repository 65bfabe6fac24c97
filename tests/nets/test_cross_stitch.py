from __future__ import annotations

import pytest
import torch

from fastseg.nets import CrossStitch, blocks, build_network, classifier_keys, logits
from fastseg.nets.cross_stitch import junctions

pytestmark = pytest.mark.torch

NAMES = ["segnet/vgg11_bn", "hypercolumn/vgg11_bn", "unet/resnet18"]


def _stitched(name: str, kind: str = "stitched") -> CrossStitch:
    net = build_network(f"{kind}/{name}", 5, seed=1)
    assert isinstance(net, CrossStitch)
    return net


@pytest.mark.parametrize("name", NAMES)
def test_four_poolings_are_mixed_a_tenth_from_the_fixed_encoder(name: str) -> None:
    net = _stitched(name)
    assert len(net.a_h) == len(net.a_s) == 4 and len(blocks(net)) == 5
    figures = net.figures()
    for pooling in range(1, 5):
        assert (figures[f"a_h_{pooling}"], figures[f"a_s_{pooling}"]) == (pytest.approx(0.1), pytest.approx(0.9))
    assert all(key.startswith("net.") for key in classifier_keys(net)) and classifier_keys(net)


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_nothing_and_one_are_the_plain_network(name: str) -> None:
    net = _stitched(name).eval()
    for h, s in zip(net.a_h, net.a_s, strict=True):
        torch.nn.init.zeros_(h)
        torch.nn.init.ones_(s)
    plain = build_network(name, 5, seed=1).eval()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(logits(net, images), logits(plain, images))


@pytest.mark.parametrize("kind", ["stitched", "stitched-scalar"])
def test_the_next_layer_sees_the_mixture(kind: str) -> None:
    net = _stitched("segnet/vgg11_bn", kind).eval()
    for value in net.fixed.state_dict().values():
        value.copy_(torch.rand_like(value.float()).to(value.dtype))
    seen: dict[str, torch.Tensor] = {}
    own, fixed = junctions(net.net.encoder)[1], junctions(net.fixed)[1]
    after = net.net.encoder[list(net.net.encoder).index(own) + 1]  # type: ignore[arg-type, index, operator]
    fixed.register_forward_hook(lambda _, __, out: seen.update(h=out))
    after.register_forward_pre_hook(lambda _, inputs: seen.update(mixed=inputs[0]))  # type: ignore[union-attr]
    handle = own.register_forward_hook(lambda _, __, out: seen.update(after_hooks=out[0]), prepend=True)
    net(torch.rand(1, 3, 64, 64))
    handle.remove()
    expected = net.a_h[1] * seen["h"] + net.a_s[1] * seen["after_hooks"]
    torch.testing.assert_close(seen["mixed"], expected)
    assert net.a_h[1].numel() == (1 if kind == "stitched-scalar" else seen["h"].shape[1])


def test_training_moves_the_network_and_the_shares_but_nothing_of_the_fixed_encoder() -> None:
    net = _stitched("unet/resnet18")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        net.train()
        torch.autograd.backward(logits(net, torch.rand(2, 3, 64, 64)).square().mean())
        optimiser.step()
    after = net.state_dict()
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert not any(key.startswith("fixed.") for key in changed)
    assert {f"a_h.{i}" for i in range(4)} | {f"a_s.{i}" for i in range(4)} <= changed
    assert any(key.startswith("net.encoder.") for key in changed)


def test_the_whole_network_comes_back_from_its_state() -> None:
    net, other = _stitched("segnet/vgg11_bn").eval(), build_network("stitched/segnet/vgg11_bn", 5, seed=9).eval()
    other.load_state_dict(net.state_dict())
    images = torch.rand(1, 3, 45, 61)
    torch.testing.assert_close(logits(net, images), logits(other, images))
