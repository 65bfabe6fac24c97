from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fastseg.nets import build_network, classifier_keys
from fastseg.transfer import cli, transfer
from fastseg.weights import Source, read_source

pytestmark = pytest.mark.torch
SMALL = "linknet/mobilenetv3_small_050"


def _source(name: str, classes: int, seed: int) -> Source:
    return Source(name, build_network(name, classes, seed).state_dict(), None)


@pytest.mark.parametrize("name", ["segnet/vgg11_bn", SMALL])
def test_everything_but_the_classifier_goes_over(name: str) -> None:
    source, net = _source(name, 20, seed=1), build_network(name, 5, seed=2)
    fresh = {key: value.clone() for key, value in net.state_dict().items()}
    report = transfer(source, net)
    own = set(classifier_keys(net))
    assert set(report.missing) == own and set(report.dropped) == own and not report.reshaped
    for key, value in net.state_dict().items():
        assert torch.equal(value, fresh[key] if key in own else source.weights[key])


@pytest.mark.parametrize("name", ["segnet/vgg11_bn", "unet/vgg11_bn", "unet/resnet18", "fpn/convnext_atto"])
def test_plain_timm_weights_fill_the_encoder(name: str) -> None:
    encoder = name.partition("/")[2]
    weights = timm.create_model(encoder, pretrained=False).state_dict()
    net = build_network(name, 3)
    report = transfer(Source(f"timm:{encoder}", weights, None), net)
    wanted = {key for key in net.state_dict() if key.startswith("encoder.")}
    assert wanted == set(report.matched) and not report.reshaped
    assert {key.partition(".")[0] for key in report.dropped} <= {"head", "pre_logits", "fc", "norm"}


def test_an_encoder_goes_into_another_decoder() -> None:
    source, net = _source("unet/vgg11_bn", 4, seed=1), build_network("segnet/vgg11_bn", 4, seed=2)
    report = transfer(source, net)
    assert torch.equal(net.state_dict()["encoder.0.weight"], source.weights["encoder.model.features_0.weight"])
    assert {key for key in net.state_dict() if key.startswith("encoder.")} == set(report.matched)


def test_layers_of_another_shape_are_reported_and_left() -> None:
    source, net = _source("unet/resnet18", 3, seed=1), build_network("unet/resnet34", 3)
    weights = dict(source.weights)
    weights["encoder.model.conv1.weight"] = torch.zeros(8, 3, 7, 7)
    report = transfer(Source("changed", weights, None), net)
    assert report.reshaped == ("encoder.model.conv1.weight",)
    assert net.state_dict()["encoder.model.conv1.weight"].abs().sum() > 0


def test_an_empty_match_is_an_error() -> None:
    source = Source("elsewhere", {"a.weight": torch.zeros(2, 2), "decoder.0.0.weight": torch.zeros(1)}, None)
    with pytest.raises(ValueError, match=r"no weight of elsewhere fits the network: a\.weight \(2, 2\)"):
        transfer(source, build_network(SMALL, 3))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_files_are_read(tmp_path: Path, suffix: str) -> None:
    weights = build_network(SMALL, 3, seed=4).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {key: value.half() for key, value in weights.items()}}, path)
    else:
        save_file(weights, path)
    source, net = read_source(str(path)), build_network(SMALL, 3)
    report = transfer(source, net)
    assert len(report.matched) == len(weights) - len(classifier_keys(net))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (Path("owned"),)  # type: ignore[return-value]


def test_a_weights_file_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(ValueError, match="cannot read weights from"):
        read_source(str(tmp_path / "hostile.pth"))
    assert not (tmp_path / "owned").exists()


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "short.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    (tmp_path / "notes.txt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    cases = {
        str(tmp_path / "short.safetensors"): "cannot read weights",
        str(tmp_path / "notes.txt"): "must end in",
        str(tmp_path / "list.pth"): "holds no state dict",
        str(tmp_path / "nowhere"): "no such checkpoint folder or weights file",
        str(tmp_path): "no checkpoint in",
        "timm:resnet81": "nearest known",
    }
    for name, sentence in cases.items():
        with pytest.raises(ValueError, match=sentence) as caught:
            read_source(name)
        assert "\n" not in str(caught.value)


def test_a_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        ValueError, match=r"timm's weights of resnet18 could not be had .*no route.*; without a network"
    ):
        read_source("timm:resnet18")


def test_the_map_says_what_would_go_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(build_network(SMALL, 3).state_dict(), path)
    assert cli(["map", str(path), SMALL, "--classes", "5", "--json", str(tmp_path / "map.json")]) == 0
    assert "0 reshaped" in " ".join(capsys.readouterr().out.split())  # wherever the path's length breaks the line
    report = json.loads((tmp_path / "map.json").read_text())
    assert report["matched"] and set(report["missing"]) == set(classifier_keys(build_network(SMALL, 5)))


def test_a_map_without_a_match_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"stranger": torch.zeros(2, 2)}, tmp_path / "w.safetensors")
    assert cli(["map", str(tmp_path / "w.safetensors"), SMALL]) == 2
    assert "fits the network" in capsys.readouterr().err
