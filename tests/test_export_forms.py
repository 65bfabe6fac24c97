"""Every family of networks in every form that others read, checked by those others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from fastseg import export
from fastseg.checkpoint import Record, load, save
from fastseg.data.augment import UNIT
from fastseg.inference import restored
from fastseg.nets import build_network, logits
from fastseg.weights import read_source

pytestmark = pytest.mark.torch
CLASSES = ("floor", "wall", "chair")
SMP = [
    "unet/resnet18", "deeplabv3/resnet18", "deeplabv3plus/resnet18", "pspnet/resnet18", "upernet/resnet18",
    "dpt/vit_tiny_patch16_224", "deeplabv3/resnest14d",
]  # fmt: skip
OURS = ["segnet/vgg11_bn", "hypercolumn/vgg11_bn", "hypercolumn/densenet67", "ocrnet/hrnet_w18_small"]
OTHERS = ["stitched/unet/resnet18", "classify/unet/resnet18"]


def _run(folder: Path, name: str, **config: object) -> Path:
    record = Record("segment", name, CLASSES, UNIT, (64, 64), 5, 1, {"batch": 4, "root": "images", **config})
    net = build_network(name, 3, seed=3)
    torch.manual_seed(1)
    for buffer in (b for key, b in net.named_buffers() if key.endswith("running_var")):
        buffer.uniform_(0.5, 1.5)  # statistics that differ from layer to layer, as after training
    save(folder, record, net.state_dict(), {})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMP, *OURS, *OTHERS])
def test_onnx_gives_the_same_logits(tmp_path: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = _run(tmp_path / "run", name)
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "onnx"]) == 0
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"images": images.numpy()})
    expected = logits(restored(load(run)), images).detach()
    assert float((torch.from_numpy(found) - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMP, *OURS, *OTHERS])
def test_torch_export_gives_the_same_logits(tmp_path: Path, name: str) -> None:
    run = _run(tmp_path / "run", name)
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "torch"]) == 0
    images = torch.rand(3, 3, 64, 64)
    found = torch.export.load(tmp_path / "model.pt2").module()(images)
    torch.testing.assert_close(found, logits(restored(load(run)), images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*SMP, *OURS[:2], "ocrnet/hrnet_w18_small", *OTHERS])
def test_timm_takes_the_encoder(tmp_path: Path, name: str) -> None:
    run, encoder = _run(tmp_path / "run", name), name.rpartition("/")[2]
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "timm"]) == 0
    written = load_file(tmp_path / f"{encoder}.safetensors")
    model = timm.create_model(encoder, num_classes=0)
    left = model.load_state_dict(written, strict=False)
    ends = ("incre_modules.", "downsamp_modules.", "final_layer.", "pre_logits.", "conv_head.")  # of a classification
    assert written and not [key for key in left.missing_keys if not key.startswith(ends)]
    assert not [key for key in left.unexpected_keys if not key.startswith("head.")]
    weights = load(run).weights
    assert any(torch.equal(next(iter(written.values())), value) for value in weights.values())


@pytest.mark.parametrize("name", SMP[1:])
def test_smp_takes_the_whole_network(tmp_path: Path, name: str) -> None:
    import segmentation_models_pytorch as smp

    run = _run(tmp_path / "run", name)
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "smp"]) == 0
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(smp.from_pretrained(str(tmp_path / "smp")).eval()(image), restored(load(run))(image))


def test_a_network_of_no_library_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path / "run", "hypercolumn/densenet67")
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "timm"]) == 2
    assert "'densenet67' is not one of timm's" in capsys.readouterr().err


def test_what_was_exported_starts_another_run(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", "unet/resnet18")
    assert export.cli([str(run), "--out", str(tmp_path)]) == 0
    found = read_source(str(tmp_path / "model.safetensors"))
    assert found.normalisation == UNIT and found.weights.keys() == load(run).weights.keys()


def test_the_card_tells_data_rejects_scores_and_licence(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    counts = {"frames": 12, "labels": 9, "rejected": {"no-floor": 2, "gravity": 1}}
    (labels / "run.json").write_text(json.dumps({"counts": counts}))
    run = _run(tmp_path / "run", "unet/resnet18", root=str(labels), split="train", lr=0.5)
    (run / "data.json").write_text(json.dumps({"images": 9, "classes": 3}))
    lines = [{"step": 3, "miou": 0.25}, {"step": 5, "miou": 0.5, "global_accuracy": 0.75}, {"step": 9, "miou": 0.9}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = {"miou": 0.625, "per_class": [{"class": "wall", "iou": 0.4}], "image_miou": None}
    scores["protocol"] = {"data": "camvid", "split": "test", "images": 233}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    words = ["--out", str(tmp_path), "--scores", str(tmp_path / "scores.json"), "--licence", "CC BY 4.0"]
    assert export.cli([str(run), *words]) == 0
    card = (tmp_path / "MODEL_CARD.md").read_text()
    wanted = ["9 images in 3 classes", "9 of 12 frames were labelled; rejected: no-floor 2, gravity 1", "split train"]
    wanted += ["step 5: miou 0.5, global_accuracy 0.75", "camvid test, 233 images: miou 0.625", "wall: IoU 0.4"]
    wanted += ["## Licence\n\nCC BY 4.0\n", '"lr": 0.5', "random weights"]
    assert [each for each in wanted if each not in card] == [] and "0.9" not in card


@pytest.mark.parametrize(("content", "sentence"), [("[1]", "a JSON object"), ("{}", "fastseg evaluate --json")])
def test_scores_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, sentence: str
) -> None:
    run = _run(tmp_path / "run", "linknet/mobilenetv3_small_050")
    (tmp_path / "s.json").write_text(content)
    assert export.cli([str(run), "--out", str(tmp_path / "out"), "--scores", str(tmp_path / "s.json")]) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()
