from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from fastseg.data.label_maps import AS_THEY_ARE
from fastseg.nets import build_network, logits
from fastseg.nets.label_autoencoder import LabelAutoencoder, bottleneck_size, cleaned, label_autoencoder, one_hot

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("widths", ["32", "128", "256"])
def test_the_bottleneck_is_a_sixteenth_and_the_widths_are_the_papers(widths: str) -> None:
    net = label_autoencoder(widths, 5)
    found = net.encoder(torch.zeros(1, 256, 256, dtype=torch.uint8))
    assert found.bottleneck.shape == (1, int(widths), 16, 16)
    middle = 32 if widths == "32" else 128
    assert found.conv1.shape == (1, 32, 256, 256) and found.conv3.shape == (1, middle, 64, 64)
    assert net.reconstructed(torch.zeros(1, 256, 256, dtype=torch.uint8)).shape == (1, 5, 256, 256)
    counts = [sum(isinstance(m, nn.Conv2d) for m in part.modules()) for part in (net.encoder, net.decoder)]
    assert counts == [5, 5]


def test_void_is_all_zero_and_so_is_what_is_no_class() -> None:
    hot = one_hot(torch.tensor([[[0, 1], [255, 7]]]), 3)
    assert hot[0, :, 0, 0].tolist() == [1, 0, 0] and hot[0, :, 0, 1].tolist() == [0, 1, 0]
    assert not hot[0, :, 1].any()


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (40, 17)])
def test_maps_of_any_size_come_back_at_theirs(size: tuple[int, int]) -> None:
    net = label_autoencoder("32", 4)
    assert net.reconstructed(torch.zeros(2, *size, dtype=torch.uint8)).shape == (2, 4, *size)
    assert net.encoder(torch.zeros(2, *size)).bottleneck.shape[-2:] == bottleneck_size(size)


def test_a_network_by_name_takes_maps_as_pictures() -> None:
    net = build_network("label-autoencoder/32", 200, seed=3)
    assert isinstance(net, LabelAutoencoder)
    labels = torch.randint(0, 256, (2, 32, 48), dtype=torch.uint8)
    pictures = labels[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(logits(net, AS_THEY_ARE(pictures)), net.reconstructed(labels))
    with pytest.raises(ValueError, match="unknown label autoencoder '64'; the nearest known: "):
        build_network("label-autoencoder/64", 4)


def test_only_doubted_labels_change_and_what_is_void_stays_void() -> None:
    net, labels = label_autoencoder("32", 4), torch.randint(0, 4, (1, 64, 48), dtype=torch.uint8)
    labels[0, :5] = 255
    assert torch.equal(cleaned(net, labels, (64, 48), 0.0), labels)
    found = cleaned(net, labels, (32, 32), 1.1)
    assert (found[0, :5] == 255).all() and (found[0, 5:] < 4).all() and found.dtype == torch.uint8
    likely = functional.interpolate(net.reconstructed(_at(labels, (32, 32))), (64, 48), mode="bilinear").argmax(1)
    assert torch.equal(found[0, 5:].long(), likely[0, 5:])
    some, none = (cleaned(net, labels, (64, 48), 0.2, void) for void in (False, True))
    changed = (some != labels) | (none != labels)
    assert (none[changed] == 255).all() and (some[~changed] == labels[~changed]).all() and changed.any()


def _at(labels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].to(torch.uint8)
