from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fastseg.methods import TransferConfig
from fastseg.methods.start import start
from fastseg.nets import CrossStitch, blocks, build_network, classifier_keys, logits

pytestmark = pytest.mark.torch
# One network for each kind of normalisation layer: batch (plain, with activation), layer, group of timm's own
NETWORKS = [
    "segnet/vgg11_bn",
    "unet/resnet18",
    "fpn/mobilenetv3_small_050",
    "fpn/convnext_atto",
    "hypercolumn/vgg11_bn",
]


@pytest.fixture
def weights(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    net = build_network(request.param, 9, seed=7)
    path = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return str(path)


def _hashes(net: nn.Module) -> dict[str, str]:
    return {key: hashlib.sha256(value.numpy().tobytes()).hexdigest() for key, value in net.state_dict().items()}


def _trained(net: nn.Module) -> set[str]:
    """The names of what three steps of training changed."""
    before = _hashes(net)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        net.train()
        optimiser.zero_grad()
        torch.autograd.backward(logits(net, torch.rand(2, 3, 64, 64)).square().mean())
        optimiser.step()
    after = _hashes(net)
    return {key for key in after if after[key] != before[key]}


def _keys(net: nn.Module, modules: list[nn.Module]) -> set[str]:
    """The state-dict names below the modules."""
    prefixes = tuple(f"{name}." for name, module in net.named_modules() if any(module is each for each in modules))
    return {key for key in net.state_dict() if key.startswith(prefixes)}


@pytest.mark.parametrize(("weights", "network"), [(name, name) for name in NETWORKS], indirect=["weights"])
@pytest.mark.parametrize("count", [1, 3, -1])
def test_frozen_blocks_keep_every_bit_and_the_rest_learns(weights: str, network: str, count: int) -> None:
    net = start(network, 4, 0, weights, TransferConfig(freeze=count)).net
    parts = blocks(net)
    frozen = _keys(net, [module for part in (parts if count == -1 else parts[:count]) for module in part])
    changed = _trained(net)
    assert frozen and not frozen & changed
    assert set(classifier_keys(net)) & changed


@pytest.mark.parametrize(("weights", "network"), [(name, name) for name in NETWORKS[:3]], indirect=["weights"])
@pytest.mark.parametrize("own", ["same", "random"])
def test_a_cross_stitched_encoder_is_filled_and_stays(weights: str, network: str, own: str) -> None:
    begun = start(network, 4, 0, weights, TransferConfig(mode="cross_stitch", own=own))  # type: ignore[arg-type]
    net, source = begun.net, build_network(network, 9, seed=7)
    assert isinstance(net, CrossStitch) and begun.network == f"stitched/{network}"
    theirs = source.encoder.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in net.fixed.state_dict().items())
    first = next(key for key, value in net.net.encoder.state_dict().items() if value.ndim == 4)
    assert torch.equal(net.net.encoder.state_dict()[first], theirs[first]) == (own == "same")
    assert not any(key.startswith("fixed.") for key in _trained(net))


@pytest.mark.parametrize(("weights", "network"), [("unet/vgg11_bn", "segnet/vgg11_bn")], indirect=["weights"])
def test_the_encoder_alone_goes_under_a_fresh_decoder(weights: str, network: str) -> None:
    begun, fresh = start(network, 4, 0, weights, TransferConfig(mode="encoder")), build_network(network, 4, 0)
    assert begun.transfer is not None and all(name.startswith("encoder.") for name in begun.transfer.matched)
    for key, value in begun.net.state_dict().items():
        if not key.startswith("encoder."):
            assert torch.equal(value, fresh.state_dict()[key])


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (TransferConfig(freeze=2), "give --init-from as well"),
        (TransferConfig(mode="cross_stitch"), "give --init-from as well"),
    ],
)
def test_what_needs_trained_weights_says_so(how: TransferConfig, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        start("unet/resnet18", 3, 0, "", how)


@pytest.mark.parametrize("weights", ["unet/resnet18"], indirect=True)
def test_another_architectures_encoder_cannot_be_the_fixed_one(weights: str) -> None:
    with pytest.raises(ValueError, match=r"does not fill the fixed encoder|fits the network"):
        start("segnet/vgg11_bn", 3, 0, weights, TransferConfig(mode="cross_stitch"))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 for the whole encoder; got -2"):
        TransferConfig(freeze=-2)
    with pytest.raises(ValueError, match=r"does not go with cross_stitch"):
        TransferConfig(freeze=1, mode="cross_stitch")
