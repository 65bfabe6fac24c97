from __future__ import annotations

import pytest
import torch
from torch import nn

from fastseg.gradcam import gradcam, layer_of
from fastseg.nets import build_network, freeze, logits

pytestmark = pytest.mark.torch
NETWORK = "unet/mobilenetv3_small_050"


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", [NETWORK, "depth/skip/mobilenetv3_small_050", "segnet/vgg11_bn"])
@pytest.mark.parametrize("layer", ["1", "-1"])
def test_it_is_captums(network: str, layer: str, images: torch.Tensor) -> None:
    captum = pytest.importorskip("captum.attr")
    net = build_network(network, 1 if network.startswith("depth/") else 5, seed=1).eval()
    where = layer_of(net, layer)

    def summed(seen: torch.Tensor) -> torch.Tensor:
        scores = logits(net, seen)
        chosen = torch.zeros_like(scores).scatter_(1, scores.argmax(1, keepdim=True), 1)
        return (scores * chosen).sum((1, 2, 3))

    expected = captum.LayerGradCam(summed, where).attribute(images, relu_attributions=True)
    found = gradcam(net, images, where)
    torch.testing.assert_close(found, expected[:, 0], rtol=1e-5, atol=1e-5)
    assert found.shape[1:] == expected.shape[2:] and float(found.min()) >= 0


def test_a_layer_that_sees_one_half_speaks_there(images: torch.Tensor) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            left = self.layer(torch.where(torch.arange(seen.shape[-1]) < 48, 1.0, 0.0) + 0 * seen[:, :1])
            return torch.cat([left, -left], 1)

    net = Half()
    found = gradcam(net, images, net.layer)
    assert bool((found[..., :48] > 0).all()) and bool((found[..., 48:] == 0).all())


def test_a_frozen_encoder_has_its_map_and_nothing_is_left_behind(images: torch.Tensor) -> None:
    net = build_network(NETWORK, 5, seed=1)
    free = gradcam(net, images, layer_of(net, "1"))
    freeze(net, 3)
    with torch.inference_mode(False), torch.no_grad():
        assert torch.equal(gradcam(net, images, layer_of(net, "1")), free)
    assert not images.requires_grad and all(p.grad is None for p in net.parameters())
    assert not layer_of(net, "1")._forward_hooks


def test_layers_have_numbers_and_names(images: torch.Tensor) -> None:
    net = build_network(NETWORK, 5)
    assert layer_of(net, "decoder") is net.decoder and layer_of(net, "-1") is not layer_of(net, "0")
    for name, sentence in (("9", "the encoder has"), ("nowhere", "no such module; it begins with encoder, decoder")):
        with pytest.raises(ValueError, match=sentence):
            layer_of(net, name)
    with pytest.raises(ValueError, match="a map of features"):
        gradcam(net, images, net.encoder)  # a list of maps
    with pytest.raises(ValueError, match="it takes no part"):
        gradcam(net, images, nn.Conv2d(3, 3, 1))
