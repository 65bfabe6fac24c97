"""Published starts: checkpoints in the layouts of MoCo v2, DINO, MAE, COCO and ImageNet, made of real networks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from fastseg.data.augment import IMAGENET
from fastseg.methods import TransferConfig
from fastseg.methods.start import start
from fastseg.nets import build_network, features
from fastseg.transfer import cli, transfer
from fastseg.weights import read_source

pytestmark = pytest.mark.torch
State = dict[str, torch.Tensor]
VIT = "vit_tiny_patch16_224"
MAE_DECODER = 32  # channels of the decoder that MAE leaves behind


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def _blank(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


def _seeded(net: nn.Module) -> nn.Module:
    """The network with batch statistics as training leaves them, in evaluation mode."""
    random = torch.Generator().manual_seed(9)
    for name, value in net.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=random) + 0.5)
    return net.eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(3)
    return _seeded(models.resnet50(weights=None))


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(4)
    return timm.create_model(VIT, pretrained=False).eval()


def _moco(resnet: nn.Module) -> dict[str, Any]:
    """MoCo v2: a DataParallel's query and key encoders, an MLP in place of fc, and a queue."""
    body = {name: value for name, value in resnet.state_dict().items() if not name.startswith("fc.")}
    head = {"fc.0.weight": torch.ones(8, 8), "fc.0.bias": torch.ones(8), "fc.2.weight": torch.ones(4, 8)}
    state = {**_prefixed(body | head, "module.encoder_q."), **_prefixed(_blank(body | head), "module.encoder_k.")}
    state |= {"module.queue": torch.rand(4, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}


def _dino(net: nn.Module) -> dict[str, Any]:
    """DINO's full checkpoint: student and teacher, each a backbone and a projection head."""
    body, head = (
        net.state_dict(),
        {"module.head.mlp.0.weight": torch.ones(4, 4), "module.head.last_layer.weight_g": torch.ones(4, 1)},
    )
    teacher = {name.removeprefix("module."): value for name, value in head.items()} | _prefixed(body, "backbone.")
    student = head | _prefixed(_blank(body), "module.backbone.")
    return {
        "student": student,
        "teacher": teacher,
        "epoch": 100,
        "args": argparse.Namespace(arch="vit"),
        "dino_loss": {"center": torch.zeros(1, 4)},
    }


def _mae(vit: nn.Module) -> dict[str, Any]:
    """MAE: the encoder under its own names, no classifier, a mask token and a decoder beside it."""
    body = {name: value for name, value in vit.state_dict().items() if not name.startswith("head.")}
    decoder = {"mask_token": torch.ones(1, 1, MAE_DECODER), "decoder_pos_embed": torch.ones(1, 197, MAE_DECODER)}
    decoder |= {
        "decoder_embed.weight": torch.ones(MAE_DECODER, 192),
        "decoder_blocks.0.norm1.weight": torch.ones(MAE_DECODER),
    }
    return {"model": body | decoder, "epoch": 800, "args": argparse.Namespace(mask_ratio=0.75)}


def _into(content: dict[str, Any], network: str, folder: Path, mode: str = "all") -> tuple[Any, nn.Module]:
    """The report and the network, in evaluation mode, that begins from a checkpoint of this content."""
    torch.save(content, folder / "published.pth.tar")
    begun = start(network, 3, 0, str(folder / "published.pth.tar"), TransferConfig(mode=mode))  # type: ignore[arg-type]
    return begun.transfer, begun.net.eval()


def _deepest(resnet: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a torchvision ResNet computes before its mean over the pixels."""
    x = images
    for name, child in resnet.named_children():
        if name == "avgpool":
            break
        x = child(x)
    return x


@pytest.mark.parametrize("layout", [_moco, _dino, lambda net: dict(net.state_dict())], ids=["moco", "dino", "imagenet"])
def test_a_resnet_sees_what_its_publishers_network_saw(layout: Any, resnet: nn.Module, tmp_path: Path) -> None:
    report, net = _into(layout(resnet), "skip/resnet50", tmp_path)
    wanted = {name for name in net.state_dict() if name.startswith("encoder.")}
    assert set(report.matched) == wanted and not report.reshaped and not report.resized
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(features(net, images).encoder[-1], _deepest(resnet, images))


@pytest.mark.parametrize("layout", [_mae, _dino], ids=["mae", "dino"])
def test_a_vision_transformer_sees_what_its_publishers_network_saw(layout: Any, vit: nn.Module, tmp_path: Path) -> None:
    report, net = _into(layout(vit), f"dpt/{VIT}", tmp_path)
    wanted = {name for name in net.state_dict() if name.startswith("encoder.")}
    heads = {"encoder.model.head.weight", "encoder.model.head.bias"}  # of whole images: nothing reads it here
    assert set(report.matched) | heads == wanted and not report.reshaped and not report.resized
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        wanted_maps = vit.forward_intermediates(images, intermediates_only=True, norm=False)
        torch.testing.assert_close(features(net, images).encoder[-1], wanted_maps[-1])


def test_a_deeplab_of_coco_goes_over_whole(tmp_path: Path) -> None:
    torch.manual_seed(5)
    published = _seeded(models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True))
    report, net = _into(published.state_dict(), "deeplabv3/resnet50", tmp_path)
    head = {name for name in net.state_dict() if name.startswith("segmentation_head.")}
    assert set(report.matched) == set(net.state_dict()) - head and set(report.missing) == head
    assert {name.partition(".")[0] for name in report.dropped} == {"classifier", "aux_classifier"}
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        wanted = nn.Sequential(*list(published.classifier)[:4])(published.backbone(images)["out"])
        torch.testing.assert_close(
            features(net, images).penultimate, wanted, atol=1e-4, rtol=1e-4
        )  # float32, 50 layers
    report, _ = _into(published.state_dict(), "skip/resnet50", tmp_path)
    assert {name.partition(".")[0] for name in report.matched} == {"encoder"}


def test_positions_of_another_grid_are_resized_and_said_to_be(vit: nn.Module, tmp_path: Path) -> None:
    report, net = _into(_mae(vit), "dpt/vit_tiny_patch16_384", tmp_path)
    assert report.resized == ("encoder.model.pos_embed",) and not report.reshaped
    given, found = vit.state_dict()["pos_embed"], net.state_dict()["encoder.model.pos_embed"]
    assert found.shape == (1, 577, 192) and torch.equal(found[:, 0], given[:, 0])
    grown = nn.functional.interpolate(
        given[:, 1:].reshape(1, 14, 14, 192).permute(0, 3, 1, 2), (24, 24), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(found[:, 1:], grown.flatten(2).transpose(1, 2))
    torch.save(_mae(vit), tmp_path / "mae.pth")
    words = ["map", str(tmp_path / "mae.pth"), "dpt/vit_tiny_patch16_384", "--json", str(tmp_path / "m.json")]
    assert cli(words) == 0 and json.loads((tmp_path / "m.json").read_text())["resized"] == ["encoder.model.pos_embed"]


REFUSED = {
    200: "has 4 positions beside a grid of 14x14 patches; the network has 1 beside 24x24",
    196: "has 0 positions beside a grid of 14x14 patches; the network has 1 beside 24x24",
    190: "has 190 positions, which are no square grid",
}


@pytest.mark.parametrize("count", REFUSED)
def test_positions_that_cannot_be_placed_are_refused(vit: nn.Module, tmp_path: Path, count: int) -> None:
    content = _mae(vit)
    content["model"]["pos_embed"] = torch.zeros(1, count, 192)
    with pytest.raises(ValueError, match=REFUSED[count]):
        _into(content, "dpt/vit_tiny_patch16_384", tmp_path)


def test_torchvisions_names_stand_for_what_it_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    kept = tmp_path / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    torch.manual_seed(6)
    state = models.resnet18(weights=None).state_dict()
    torch.save(state, kept / Path(models.ResNet18_Weights.IMAGENET1K_V1.url).name)
    for name in ("torchvision:resnet18", "torchvision:resnet18.IMAGENET1K_V1"):
        source, net = read_source(name), build_network("skip/resnet18", 3)
        assert source.normalisation == IMAGENET and source.name == name
        report = transfer(source, net, "encoder")
        assert torch.equal(net.state_dict()["encoder.model.conv1.weight"], state["conv1.weight"])
        assert set(report.dropped) == {"fc.weight", "fc.bias"}


def test_torchvision_names_that_are_none_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no route\nto the host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    cases = {
        "torchvision:resnet81": r"unknown torchvision network 'resnet81'; the nearest known: .*resnet18",
        "torchvision:resnet18.V9": r"unknown weights of torchvision's resnet18 'V9'; .*IMAGENET1K_V1",
        "torchvision:resnet18": r"torchvision's weights of resnet18 could not be had \(no route\); without a network",
    }
    for name, sentence in cases.items():
        with pytest.raises(ValueError, match=sentence) as caught:
            read_source(name)
        assert "\n" not in str(caught.value)


def test_a_layout_that_nothing_matches_names_what_was_found(tmp_path: Path) -> None:
    torch.save({"model": models.mobilenet_v3_small(weights=None).state_dict()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"fits the network: features\.0\.0\.weight \(16, 3, 3, 3\) against"):
        transfer(read_source(str(tmp_path / "w.pth")), build_network("skip/resnet18", 3))
