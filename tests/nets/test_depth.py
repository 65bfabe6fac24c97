from __future__ import annotations

import pytest
import torch

from fastseg.nets import blocks, build_network, classifier_keys, depth, disparities, features, logits, stride
from fastseg.nets.depth import depth_of, grown
from fastseg.nets.pose import PoseNet, rigid
from fastseg.transfer import transfer
from fastseg.weights import Source

pytestmark = pytest.mark.torch
TINY = "skip/mobilenetv3_small_050"


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv3_small_050", "convnext_atto"])
def test_a_skip_decoder_goes_over_any_pyramid(encoder: str) -> None:
    net = build_network(f"skip/{encoder}", 5).eval()
    assert stride(net) == 32 and logits(net, torch.rand(1, 3, 45, 61)).shape == (1, 5, 45, 61)
    found = features(net, torch.rand(1, 3, 64, 96))
    assert found.penultimate.shape == (1, 16, 64, 96) and found.logits.shape == (1, 5, 64, 96)
    assert len(blocks(net)) >= 4 and all(key.startswith("segmentation_head.") for key in classifier_keys(net))


def test_a_vit_has_no_pyramid_for_a_skip_decoder() -> None:
    with pytest.raises(ValueError, match="vit_tiny_patch16_224 gives no pyramid of five halvings"):
        build_network("skip/vit_tiny_patch16_224", 1)


def test_a_depth_network_has_four_scales_of_disparity_that_cover_an_image_of_any_size() -> None:
    net = build_network(f"depth/{TINY}", 1)
    found = disparities(net, torch.rand(2, 3, 45, 61))
    assert [tuple(each.shape[2:]) for each in found] == [(45, 61), (23, 31), (12, 16), (6, 8)]
    assert all(bool(((each > 0) & (each < 1)).all()) for each in found)
    assert all(grown(each, scale, (45, 61)).shape == (2, 45, 61) for scale, each in enumerate(found))
    sum(each.mean() for each in found).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for name, parameter in net.named_parameters() if "encoder" not in name)


def test_levels_made_again_in_the_backward_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = build_network(f"depth/{TINY}", 1), torch.rand(2, 3, 64, 96)
    found = []
    for remade in (depth.REMADE, 0):
        monkeypatch.setattr(depth, "REMADE", remade)
        net.zero_grad()
        loss = torch.stack([each.square().mean() for each in disparities(net, images)]).sum()
        torch.autograd.backward(loss)
        decoder = [
            each.grad for name, each in net.named_parameters() if "encoder" not in name and each.grad is not None
        ]
        found.append([loss.detach(), *decoder])
    assert len(found[0]) > 20 and all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", ["deeplabv3/resnet18", "dpt/vit_tiny_patch16_224"])
def test_any_segmentation_network_of_one_output_predicts_disparity(name: str) -> None:
    found = disparities(build_network(f"depth/{name}", 1).eval(), torch.rand(1, 3, 45, 61))
    assert [tuple(each.shape) for each in found] == [(1, 1, 45, 61)]


def test_depth_networks_have_one_output() -> None:
    with pytest.raises(ValueError, match="a depth network has one output; got 3"):
        build_network(f"depth/{TINY}", 3)


def test_the_same_seed_gives_the_same_depth_and_pose_weights() -> None:
    first, second, other = (build_network(f"depth-pose/{TINY}", 1, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    names = [name for name in first if name.endswith("weight") and first[name].ndim == 4]
    assert {name.partition(".")[0] for name in names} == {"encoder", "decoder", "segmentation_head", "coarser", "pose"}
    assert not any(torch.equal(first[name], other[name]) for name in names)


def test_disparity_spans_the_depth_range() -> None:
    found = depth_of(torch.tensor([0.0, 1.0, 0.5]), 0.1, 100.0)
    torch.testing.assert_close(found, torch.tensor([100.0, 0.1, 2 / 10.01]))
    with pytest.raises(ValueError, match="0 < nearest < farthest"):
        depth_of(torch.zeros(1), 2.0, 1.0)


def test_a_coarse_disparity_grows_onto_the_pixels_it_covers() -> None:
    across = torch.arange(8.0).expand(1, 1, 4, 8)
    found = grown(across, 2, (15, 30))
    assert found.shape == (1, 15, 30)
    torch.testing.assert_close(found[0, 0, 2:28], (torch.arange(2.0, 28.0) + 0.5) / 4 - 0.5)


def test_an_axis_angle_is_a_rotation() -> None:
    turned = rigid(torch.tensor([[0.0, 0.0, torch.pi / 2]]), torch.tensor([[1.0, 2.0, 3.0]]))[0]
    wanted = torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    torch.testing.assert_close(turned, wanted, atol=1e-6, rtol=0)  # float32 sines
    angles = torch.randn(50, 3, dtype=torch.float64) * torch.logspace(-9, 0.5, 50, dtype=torch.float64)[:, None]
    found = rigid(angles, torch.zeros_like(angles))[:, :3, :3]
    x, y, z = angles.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    torch.testing.assert_close(found, torch.linalg.matrix_exp(cross), atol=1e-12, rtol=0)


def test_the_gradient_of_no_motion_is_finite_and_right() -> None:
    motion = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: rigid(m[:, :3], m[:, 3:]), motion)
    about = torch.full((1, 6), 0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: rigid(m[:, :3], m[:, 3:]), about)


def test_a_pose_network_begins_near_no_motion() -> None:
    torch.manual_seed(0)
    net = PoseNet("mobilenetv3_small_050")
    found = net(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96))
    assert found.shape == (2, 4, 4) and float((found - torch.eye(4)).abs().max().detach()) < 0.05
    found[:, :3].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.head.parameters())


def test_depth_weights_go_into_a_segmentation_network_without_head_and_pose() -> None:
    trained = build_network(f"depth-pose/{TINY}", 1, 1)
    source = Source("depth", trained.state_dict(), None)
    same = transfer(source, net := build_network(TINY, 4, 2))
    assert {name.partition(".")[0] for name in same.matched} == {"encoder", "decoder"}
    assert set(same.missing) == set(classifier_keys(net)) and not same.reshaped
    stem = "encoder.model.conv_stem.weight"
    assert torch.equal(net.state_dict()[stem], trained.state_dict()[stem])
    across = transfer(source, build_network("deeplabv3/mobilenetv3_small_050", 4, 2))
    assert {name.partition(".")[0] for name in across.matched} == {"encoder"}
