from __future__ import annotations

import pytest
import torch
from torch import nn

from fastseg.nets import SegNet, blocks, build_network, classifier_keys, features, freeze, logits
from fastseg.nets.hypercolumn import Hypercolumn
from fastseg.nets.ocr import ObjectContext

pytestmark = pytest.mark.torch

SMALL = ["segnet/vgg11_bn", "unet/resnet18"]
EVERY_KIND = [
    "segnet/vgg11_bn",
    "hypercolumn/vgg11_bn",
    "hypercolumn/densenet67",
    "ocrnet/hrnet_w18_small",
    "pspnet/resnet18",
    "deeplabv3/resnest14d",
    "deeplabv3plus/resnet18",
    "upernet/hrnet_w18_small",
    "dpt/vit_tiny_patch16_224",
]


@pytest.mark.parametrize("name", [*SMALL, "fpn/mobilenetv3_small_050", "deeplabv3/resnet18"])
@pytest.mark.parametrize("size", [(32, 64), (45, 61)])
def test_logits_have_the_size_of_the_image(name: str, size: tuple[int, int]) -> None:
    net = build_network(name, 7).eval()
    assert logits(net, torch.rand(1, 3, *size)).shape == (1, 7, *size)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_every_network_shows_its_features_blocks_and_classifier(name: str) -> None:
    net = build_network(name, 7).eval()
    images = torch.rand(1, 3, 64, 96)
    found = features(net, images)
    torch.testing.assert_close(found.logits, net(images), rtol=1e-5, atol=1e-5)
    assert found.logits.shape == (1, 7, 64, 96) and len(found.encoder) >= 4 and len(blocks(net)) >= 5
    sizes = [each.shape[-2] * each.shape[-1] for each in found.encoder]
    assert (sizes == sorted(sizes, reverse=True) and sizes[0] < 64 * 96) or name.startswith("hypercolumn/vgg")
    assert classifier_keys(net) and logits(net, torch.rand(1, 3, 45, 61)).shape == (1, 7, 45, 61)
    assert (found.auxiliary is not None) == name.startswith("ocrnet")


@pytest.mark.parametrize("name", ["pspnet/resnet18", "deeplabv3/resnest14d"])
def test_the_papers_output_stride_is_eight(name: str) -> None:
    found = features(build_network(name, 3).eval(), torch.rand(1, 3, 64, 96))
    assert found.encoder[-1].shape[-2:] == (8, 12) and found.penultimate.shape[-2:] == (8, 12)


def test_a_hypercolumn_is_the_classifier_of_the_concatenated_maps() -> None:
    net = build_network("hypercolumn/vgg11_bn", 5).eval()
    assert isinstance(net, Hypercolumn)
    images = torch.rand(1, 3, 32, 48)
    maps = net.maps(images)
    grown = [nn.functional.interpolate(each, [32, 48], mode="bilinear", align_corners=False) for each in maps]
    weight = torch.cat([part.weight for part in net.classifier], 1)  # type: ignore[arg-type]
    expected = nn.functional.conv2d(torch.cat(grown, 1), weight, net.classifier[0].bias)  # type: ignore[arg-type]
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-4)


def test_densenet67_has_sixty_seven_layers_of_growth_48() -> None:
    net = build_network("hypercolumn/densenet67", 3)
    assert isinstance(net, Hypercolumn)
    convolutions = [layer for layer in net.encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) + 1 == 67  # and the fully connected layer of the classification network
    assert {layer.out_channels for layer in convolutions if layer.kernel_size == (3, 3)} == {48}


def test_a_pixel_of_one_region_takes_that_regions_mean_as_its_context() -> None:
    block = ObjectContext(8, 4).eval()
    x = torch.rand(1, 8, 4, 4)
    scores = torch.full((1, 1, 4, 4), 3.0)
    mean = x.mean((2, 3), keepdim=True)
    expected = block.rho(block.delta(mean)).expand(1, 8, 4, 4)
    torch.testing.assert_close(block(x, scores), expected)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build_network("segnet/vgg11_bn", 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_segnet_has_thirteen_convolutions_each_way_and_five_blocks() -> None:
    net = build_network("segnet", 20)
    assert isinstance(net, SegNet)
    assert [sum(isinstance(layer, nn.Conv2d) for layer in block) for block in blocks(net)] == [2, 2, 3, 3, 3]
    decoder = [layer for layer in net.decoder.modules() if isinstance(layer, nn.Conv2d)]
    assert len(decoder) == 12 and net.classifier.out_channels == 20
    assert decoder[0].in_channels == 512 and decoder[-1].out_channels == 64


def test_unpooling_puts_values_back_where_the_maximum_was() -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.MaxPool2d(2, 2))
    net = SegNet(encoder, 1)
    nn.init.constant_(encoder[0].weight, 1.0)  # type: ignore[arg-type]
    nn.init.zeros_(net.classifier.weight)
    net.classifier.weight.data[0, 0, 1, 1] = 1.0
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 1, 0], image[0, 0, 2, 3] = 5.0, 7.0
    assert torch.equal(net(image)[0, 0], image[0, 0])


@pytest.mark.parametrize("name", [*SMALL, "fpn/mobilenetv3_small_050"])
def test_blocks_cover_the_encoder_in_order_without_overlap(name: str) -> None:
    parts = blocks(build_network(name, 3))
    parameters = [parameter for part in parts for module in part for parameter in module.parameters()]
    assert len(parts) >= 5
    assert len({id(parameter) for parameter in parameters}) == len(parameters)


@pytest.mark.parametrize("name", SMALL)
def test_frozen_blocks_keep_every_parameter_and_buffer_through_training(name: str) -> None:
    net = build_network(name, 3)
    freeze(net, 2)
    frozen = [module for part in blocks(net)[:2] for module in part]
    free = [module for part in blocks(net)[2:] for module in part]
    before, free_before = _values(frozen), _values(free)
    net.train()
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        net.train()
        torch.autograd.backward(logits(net, torch.rand(2, 3, 64, 64)).square().mean())
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, _values(frozen), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(free_before, _values(free), strict=True))


def _values(modules: list[nn.Module]) -> list[torch.Tensor]:
    return [value.clone() for module in modules for value in module.state_dict().values()]


def test_the_classifier_is_the_only_part_that_depends_on_the_classes() -> None:
    for name in SMALL:
        three, nine = build_network(name, 3), build_network(name, 9)
        other = nine.state_dict()
        differing = {key for key, value in three.state_dict().items() if value.shape != other[key].shape}
        assert differing <= set(classifier_keys(three)) and differing


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("unet", "named decoder/encoder"),
        ("unett/resnet18", "nearest known: unet"),
        ("unet/resnet81", "resnet18"),
        ("segnet/resnet18", "needs a VGG encoder"),
        ("deeplabv3/densenet121", "does not go over encoder densenet121"),
    ],
)
def test_an_unknown_network_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        build_network(name, 3)
    assert "\n" not in str(caught.value)


def test_freezing_more_blocks_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="5 blocks; got 6"):
        freeze(build_network("segnet/vgg11_bn", 3), 6)
