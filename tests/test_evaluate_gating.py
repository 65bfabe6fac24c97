from __future__ import annotations

import pytest
import torch

from fastseg.data.augment import IMAGENET
from fastseg.evaluate import measured
from fastseg.inference import Views, averaged, depths_of, predictions
from fastseg.nets import build_network
from fastseg.nets.gating_net import GatedNet
from tests.methods.test_gating import DeepSquares
from tests.squares import Squares

pytestmark = pytest.mark.torch


def _net() -> GatedNet:
    net = build_network("gated-ground_truth-w16/mobilenetv3_small_050", 3).eval()
    assert isinstance(net, GatedNet)
    return net


def test_measured_gates_take_the_depth_of_the_set() -> None:
    net, examples = _net(), DeepSquares(3)
    found = depths_of(net, examples, range(2), (32, 32))
    assert found is not None and [tuple(each.shape) for each in found] == [(32, 32)] * 2
    assert measured(net, examples, (64, 64), IMAGENET, 2).counts.sum() == 3 * 64 * 64
    assert depths_of(build_network("gated-w16/mobilenetv3_small_050", 3), Squares(), range(2), (32, 32)) is None


def test_a_set_without_depth_or_metres_is_refused() -> None:
    with pytest.raises(ValueError, match="gates that are predicted, attention or average need none"):
        measured(_net(), Squares(), (64, 64), IMAGENET)
    with pytest.raises(ValueError, match="the depth of squares/0 must be in metres"):
        measured(_net(), DeepSquares(unit=0.001), (64, 64), IMAGENET)


def test_each_look_sees_its_own_depth() -> None:
    net, image = _net(), torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    depth = torch.linspace(1, 6, 64).expand(64, 64).contiguous()
    with torch.inference_mode():
        once = averaged(net, image, (64, 64), IMAGENET, Views(flip=True), depth)
        mirrored = averaged(net, image.flip(-1), (64, 64), IMAGENET, Views(flip=True), depth.flip(-1))
        torch.testing.assert_close(once, mirrored.flip(-1))
        seen: list[torch.Tensor] = []
        net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
        averaged(net, image, (64, 64), IMAGENET, Views(scales=(2.0,), window="64x64"), depth)
        assert seen[0].shape == (1, 64, 64) and seen[0].max() <= 3
    classes = list(predictions(net, [image] * 2, [(64, 64)] * 2, IMAGENET, None, [depth, depth]))
    assert len(classes) == 2 and classes[0].shape == (64, 64)
