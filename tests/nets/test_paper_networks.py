"""The papers' networks at their full width, one forward and backward each: slow, and every one is listed here."""

from __future__ import annotations

import pytest
import torch

from fastseg.nets import blocks, build_network, classifier_keys, features, logits, scored

pytestmark = pytest.mark.torch

# name, stride of the encoder's last map, of what the classifier reads, parameters in millions of 21 classes
# (as published: SegNet 29.46; FCN-VGG16 134; torchvision's DeepLabV3-ResNet50 and 101 42.0 and 61.0, with the 2.4 of a
# second classifier; OCRNet-HRNetW18 12.1; DenseNet-121 and VGG-16 7.98 and 138.4, with their linear layers)
NETWORKS = [
    ("segnet/vgg16_bn", 32, 1, 29.45),
    ("hypercolumn/vgg16", 16, 16, 14.75),
    ("hypercolumn/densenet67", 32, 32, 5.62),
    ("hypercolumn/densenet121", 32, 32, 7.01),
    ("fcn/vgg16", 32, 32, 134.36),
    ("deeplabv3/resnet50", 8, 8, 39.64),
    ("deeplabv3/resnet101", 8, 8, 58.63),
    ("deeplabv3/resnest50d", 8, 8, 41.57),
    ("deeplabv3plus/resnet50", 16, 4, 26.68),
    ("pspnet/resnet18", 8, 8, 12.06),
    ("pspnet/resnet50", 8, 8, 29.90),
    ("pspnet/resnest50d", 8, 8, 31.83),
    ("upernet/resnet50", 32, 4, 37.29),
    ("upernet/hrnet_w18", 32, 4, 21.09),
    ("unet/densenet121", 32, 1, 13.61),
    ("unet/vgg16_bn", 32, 1, 19.04),
    ("dpt/vit_base_patch16_224", 16, 2, 121.78),
    ("ocrnet/hrnet_w18", 32, 4, 12.08),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "deepest", "read", "millions"), NETWORKS, ids=[row[0] for row in NETWORKS])
def test_a_papers_network_runs_both_ways(name: str, deepest: int, read: int, millions: float) -> None:
    net = build_network(name, 21)
    count = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.01)
    net.train()
    found = features(net, torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)))
    assert found.logits.shape == (2, 21, 64, 96) and bool(torch.isfinite(found.logits).all())
    assert found.encoder[-1].shape[-2:] == (64 // deepest, 96 // deepest)
    assert found.penultimate.shape[-2:] == (64 // read, 96 // read)
    second = 0.0 if found.auxiliary is None else found.auxiliary.square().mean()
    torch.autograd.backward(found.logits.square().mean() + second)
    idle = {key for key, parameter in net.named_parameters() if parameter.grad is None}
    # What ends a classification network comes after the last map that a segmentation network reads.
    assert all(key.startswith(("encoder.norm5.", "encoder.model.norm.", "encoder.model.head.")) for key in idle)
    assert len(blocks(net)) >= 5 and classifier_keys(net)


def test_vit_large_is_built_by_name_without_its_weights() -> None:
    with torch.device("meta"):
        net = build_network("dpt/vit_large_patch16_224", 21)
    count = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert 330 < count < 360 and all(parameter.is_meta for parameter in net.parameters())  # ViT-L/16 alone has 303.3
    assert len(blocks(net)) == 25


@pytest.mark.parametrize(
    "name", ["deeplabv3/vgg11_bn", "pspnet/densenet121", "pspnet/hrnet_w18_small", "deeplabv3plus/vgg11_bn"]
)
def test_an_encoder_that_cannot_be_dilated_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match="its stages cannot be dilated") as caught:
        build_network(name, 3)
    assert "\n" not in str(caught.value)


def test_a_networks_two_outputs_are_of_the_images_own_size() -> None:
    first, second = scored(build_network("ocrnet/hrnet_w18_small", 4).eval(), torch.rand(1, 3, 45, 61))
    assert second is not None and first.shape == second.shape == (1, 4, 45, 61)
    net = build_network("dpt/vit_tiny_patch16_224", 4).eval()
    assert logits(net, torch.rand(1, 3, 45, 61)).shape == (1, 4, 45, 61)
