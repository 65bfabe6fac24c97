from __future__ import annotations

import pytest
import torch

from fastseg.nets import blocks, build_network, classifier_keys, features, logits
from fastseg.nets.gating_build import MultiScale
from fastseg.nets.gating_net import GatedNet
from fastseg.transfer import transfer
from fastseg.weights import Source

pytestmark = pytest.mark.torch
IMAGES = torch.rand(2, 3, 44, 60, generator=torch.Generator().manual_seed(0))
DEPTH = torch.rand(2, 44, 60, generator=torch.Generator().manual_seed(1)) * 6


def _net(words: str, encoder: str = "resnet10t") -> GatedNet:
    net = build_network(f"gated-{words}-w16/{encoder}", 4)
    assert isinstance(net, GatedNet)
    return net


@pytest.mark.parametrize("words", ["baseline", "average-tied", "attention-hard", "predicted-both", "predicted-loops2"])
def test_logits_are_of_every_pixel_and_softmax_scores(words: str) -> None:
    net = _net(words).eval()
    with torch.no_grad():
        found = logits(net, IMAGES)
        assert found.shape == (2, 4, 44, 60)
        torch.testing.assert_close(found.exp().sum(1), torch.ones(2, 44, 60))
        assert features(net, IMAGES).penultimate.shape == (2, 16, 6, 8)  # a stride of 8


OVER = ("fpn/resnet10t", "deeplabv3/resnet10t", "skip/resnet10t", "segnet/vgg11_bn", "fcn/vgg11_bn",
        "hypercolumn/vgg11_bn", "ocrnet/hrnet_w18_small")  # fmt: skip


@pytest.mark.parametrize("inner", OVER)
def test_the_head_goes_over_any_decoder(inner: str) -> None:
    net = build_network(f"gated-attention-loops1-w16/{inner}", 4).eval()
    with torch.no_grad():
        assert logits(net, IMAGES).shape == (2, 4, 44, 60)
    assert {key.partition(".")[0] for key in classifier_keys(net)} == {"classifier", "recurrent"}
    assert blocks(net)


@pytest.mark.parametrize("inner", ["segnet/vgg11_bn", "hypercolumn/vgg11_bn", "ocrnet/hrnet_w18_small"])
def test_a_head_over_our_own_decoders_has_all_of_their_weights_but_the_classifier(inner: str) -> None:
    own = build_network(inner, 4, 1)
    net = build_network(f"gated-attention-w16/{inner}", 4, 2)
    report = transfer(Source("own", own.state_dict(), None), net)
    assert set(report.matched) == {key for key in own.state_dict() if not key.startswith("classifier.")}
    torch.autograd.backward(logits(net.train(), IMAGES).square().mean())
    assert not [name for name, each in net.named_parameters() if each.grad is None]


def test_a_head_over_what_it_does_not_go_over_is_refused() -> None:
    with pytest.raises(ValueError, match="goes over an encoder, or a decoder/encoder; got classify/fpn/resnet10t"):
        build_network("gated/classify/fpn/resnet10t", 4)
    with pytest.raises(ValueError, match="loops need gates"):
        build_network("gated-baseline-loops1/resnet10t", 4)


def test_the_gates_take_the_place_of_a_pyramid() -> None:
    net = build_network("gated-attention-aspp-w256/deeplabv3/resnet10t", 4).eval()
    with torch.no_grad():
        assert logits(net, IMAGES).shape == (2, 4, 44, 60)
    assert isinstance(net, GatedNet) and net.state_dict()["after.conv.weight"].shape == (256, 256, 3, 3)
    with pytest.raises(ValueError, match="its 256 channels, w256; got w512"):
        build_network("gated-aspp/deeplabv3/resnet10t", 4)
    with pytest.raises(ValueError, match="aspp is a place in deeplabv3"):
        build_network("gated-aspp-w256/unet/resnet10t", 4)


def test_every_loop_is_a_prediction_and_any_number_can_be_made() -> None:
    net = _net("predicted-loops1").eval()
    with torch.no_grad():
        three = net.every(IMAGES, loops=3)
        one = net.every(IMAGES)
        assert (len(three), len(one)) == (4, 2)
        for first, second in zip(one, three, strict=False):
            torch.testing.assert_close(first.scores, second.scores)
        assert not torch.equal(three[2].scores, three[3].scores)
        coming = net.anytime(IMAGES, loops=9)  # of which only those that are asked for are made
        for each, pass_ in zip(three[:2], coming, strict=False):
            torch.testing.assert_close(pass_.scores, each.scores)
        net.set_loops(3)
        torch.testing.assert_close(net(IMAGES), net.shown(three[3], IMAGES))
    for loops in (0, -1):
        with pytest.raises(ValueError, match=f"makes at least 1 loop; got {loops}"):
            net.every(IMAGES, loops=loops)
    with pytest.raises(ValueError, match="at least 1 loop; got 0"):
        net.set_loops(0)
    with pytest.raises(ValueError, match="no recurrent module"):
        _net("predicted").every(IMAGES, loops=1)


def test_measured_gates_need_depth_and_say_what_does_not() -> None:
    net = _net("ground_truth").eval()
    with pytest.raises(ValueError, match="predicted, attention or average need none"):
        logits(net, IMAGES)
    with pytest.raises(ValueError, match=r"depth must be float metres \(2, 44, 60\), as the images; got .*\(2, 44, 59"):
        net(IMAGES, DEPTH[..., :59])
    with pytest.raises(ValueError, match=r"depth must be float metres .* got torch.int32"):
        net(IMAGES, DEPTH.int())
    with torch.no_grad():
        near, far = (net(IMAGES, torch.full_like(DEPTH, metres)) for metres in (1.0, 9.0))
    assert not torch.allclose(near, far)


def test_edges_travel_with_the_weights() -> None:
    net, other = _net("ground_truth").eval(), _net("ground_truth").eval()
    net.set_edges((1.0, 2.0, 4.0, 5.0))
    other.load_state_dict(net.state_dict())
    assert other.edges.tolist() == [1, 2, 4, 5]
    with pytest.raises(ValueError, match="4 increasing metres"):
        net.set_edges((1.0, 2.0, 2.0, 5.0))


def test_resting_statistics_are_the_encoders_alone() -> None:
    net = _net("predicted")
    net.rest_statistics()
    before = {key: value.clone() for key, value in net.state_dict().items() if "running" in key}
    net.train()
    net(IMAGES)
    moved = {key for key, value in before.items() if not torch.equal(net.state_dict()[key], value)}
    assert moved and not any(key.startswith("encoder.") for key in moved)
    assert {key.partition(".")[0] for key in moved} == {"reduced", "gating"}


def test_several_scales_are_the_mean_of_their_scores() -> None:
    net = build_network("gated-multiscale-w16/resnet10t", 4).eval()
    assert isinstance(net, MultiScale)
    with torch.no_grad():
        found = logits(net, IMAGES)
        torch.testing.assert_close(found.exp().sum(1), torch.ones(2, 44, 60))
        assert not torch.allclose(found, net.net(IMAGES))
    keys = set(build_network("gated-baseline-w16/resnet10t", 4).state_dict())
    assert {key.removeprefix("net.") for key in net.state_dict()} == keys


def test_an_exported_network_needs_nothing_of_fastseg() -> None:
    net = _net("predicted-hard-loops1").eval()
    program = torch.export.export(net, (IMAGES,))
    assert "fastseg" not in str(program.graph)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(IMAGES), net(IMAGES), rtol=1e-3, atol=1e-3)


def test_an_encoder_that_cannot_be_dilated_is_refused() -> None:
    with pytest.raises(ValueError, match="encoder vgg16_bn cannot have a stride of 8"):
        build_network("gated/vgg16_bn", 4)
