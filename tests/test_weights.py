"""Weights as they are found in the world: what training scripts wrap around a state dict, and before its names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from fastseg.nets import build_network
from fastseg.transfer import cli, transfer
from fastseg.weights import read_source

pytestmark = pytest.mark.torch
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def resnet() -> State:
    """ResNet-18 under torchvision's names, which are timm's."""
    torch.manual_seed(3)
    torchvision = pytest.importorskip("torchvision")
    found: State = torchvision.models.resnet18(weights=None).state_dict()
    return found


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


FORMS: dict[str, Callable[[State], dict[str, Any]]] = {
    "torchvision": lambda state: dict(state),
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "arch": "resnet18"},
    "model": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)},
    "distributed": lambda state: {"state_dict": _prefixed(state, "module."), "best_acc1": torch.tensor(1.0)},
    "backbone": lambda state: {"state_dict": _prefixed(state, "backbone."), "meta": {"iter": 5}},
    "encoder": lambda state: _prefixed(state, "encoder."),
    "lightning": lambda state: {"state_dict": _prefixed(state, "model.encoder."), "global_step": 7},
    "moco": lambda state: {
        "state_dict": {**_prefixed(state, "module.encoder_q."), **_prefixed(_blank(state), "module.encoder_k.")}
    },
    "dino": lambda state: {
        "student": _prefixed(_blank(state), "module.backbone."), "teacher": _prefixed(state, "backbone."),
    },
}  # fmt: skip


def _blank(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


@pytest.mark.parametrize("form", FORMS)
def test_an_encoder_is_filled_from_every_form(tmp_path: Path, resnet: State, form: str) -> None:
    path = tmp_path / ("weights.pth.tar" if form == "moco" else "weights.pth")
    torch.save(FORMS[form](resnet), path)
    net = build_network("fpn/resnet18", 3)
    report = transfer(read_source(str(path)), net, "encoder")
    state = net.state_dict()
    assert set(report.matched) == {name for name in state if name.startswith("encoder.")} and not report.reshaped
    for name, value in resnet.items():
        if not name.startswith("fc."):
            assert torch.equal(state[f"encoder.model.{name}"], value)


def test_a_resnet_of_torchvision_fills_timms_own_model(resnet: State) -> None:
    net = timm.create_model("resnet18", num_classes=1000)
    assert net.load_state_dict(resnet)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("segnet/vgg11_bn", "hypercolumn/vgg11_bn"),
        ("hypercolumn/densenet67", "classify/hypercolumn/densenet67"),
        ("ocrnet/hrnet_w18_small", "unet/hrnet_w18_small"),
        ("unet/vgg11_bn", "fcn/vgg11_bn"),
        ("classify/unet/resnet18", "pspnet/resnet18"),
        ("stitched/unet/resnet18", "fpn/resnet18"),
    ],
)
def test_an_encoder_goes_from_one_architecture_into_another(tmp_path: Path, source: str, target: str) -> None:
    state = build_network(source, 4, seed=1).state_dict()
    path = tmp_path / "source.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    net = build_network(target, 3, seed=2)
    report = transfer(read_source(str(path)), net, "encoder")
    wanted = {name for name in net.state_dict() if name.startswith("encoder.")}
    extra = {name for name in wanted if ".incre_modules." in name}  # timm's widening, which OCRNet does without
    assert set(report.matched) == wanted - extra and not report.reshaped
    assert all(name in net.state_dict() for name in report.missing)


class Stranger:
    """Something a training script kept beside its weights."""


def test_objects_beside_tensors_are_refused_with_the_way_out(tmp_path: Path, resnet: State) -> None:
    torch.save({"state_dict": resnet, "config": Stranger()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"could run code when read; save the state dict alone") as caught:
        read_source(str(tmp_path / "w.pth"))
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_what_holds_no_state_dict_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"holds no state dict .*; it has epoch, optimizer"):
        read_source(str(tmp_path / "w.pth"))


def test_the_map_of_two_checkpoint_forms_is_printed_and_written(tmp_path: Path, resnet: State) -> None:
    torch.save(FORMS["distributed"](resnet), tmp_path / "w.pth")
    words = ["map", str(tmp_path / "w.pth"), "unet/resnet18", "--part", "encoder", "--json", str(tmp_path / "m.json")]
    assert cli(words) == 0
    report = json.loads((tmp_path / "m.json").read_text())
    assert len(report["matched"]) == 120 and set(report["dropped"]) == {"module.fc.weight", "module.fc.bias"}


def test_an_encoder_of_another_family_is_an_empty_match(
    tmp_path: Path, resnet: State, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(resnet, tmp_path / "w.pth")
    assert cli(["map", str(tmp_path / "w.pth"), "segnet/vgg11_bn"]) == 2
    said = capsys.readouterr().err
    assert "fits the network" in said and said.count("\n") == 1


def test_real_published_weights_fill_nothing_of_another_naming(shared_data: Path) -> None:
    """EfficientNet-Lite0 as its own package names it: none of timm's names, and nothing is matched by chance."""
    source = read_source(str(shared_data / "weights" / "efficientnet-lite0-fp16.pth"))
    assert len(source.weights) > 200 and source.normalisation is None
    with pytest.raises(ValueError, match="fits the network"):
        transfer(source, build_network("unet/resnet18", 3))
