from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from fastseg import export, predict
from fastseg.checkpoint import Record, load, save
from fastseg.data.augment import UNIT
from fastseg.inference import restored
from fastseg.nets import build_network, encoder_name, logits

pytestmark = pytest.mark.torch
CLASSES = ("floor", "wall", "chair")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    record = Record("segment", "unet/resnet18", CLASSES, UNIT, (64, 64), 5, 1, {"batch": 4, "root": "x"})
    save(out, record, build_network("unet/resnet18", 3, seed=3).state_dict(), {})
    return out


def _image(path: Path, size: tuple[int, int] = (50, 70)) -> Path:
    random = np.random.default_rng(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    return path


def test_an_image_becomes_a_palette_png_of_classes_and_an_overlay(run: Path, tmp_path: Path) -> None:
    image = _image(tmp_path / "a.jpg")
    assert predict.cli([str(run), str(image), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    with Image.open(tmp_path / "out" / "a.png") as found:
        assert found.mode == "P" and found.size == (70, 50) and np.asarray(found).max() < 3
    with Image.open(tmp_path / "out" / "a.overlay.jpg") as found:
        assert found.size == (70, 50)
    assert (tmp_path / "out" / "classes.txt").read_text().split() == list(CLASSES)


def test_a_folder_keeps_its_tree_and_a_broken_image_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _image(tmp_path / "in" / "one" / "a.png")
    (tmp_path / "in" / "b.jpg").write_bytes(b"\xff\xd8 no picture")
    out = ["--out", str(tmp_path / "out"), "--device", "cpu"]
    assert predict.cli([str(run), str(tmp_path / "in"), *out, "--views.flip", "true"]) == 1
    said = capsys.readouterr()
    assert "b.jpg" in said.err and "1 of 2 images" in said.out and (tmp_path / "out/one/a.png").is_file()


def test_a_video_becomes_a_film_of_as_many_frames(run: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "v.mp4"), "w") as film:
        stream = film.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            picture = np.full((48, 64, 3), 40 * index, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    assert predict.cli([str(run), str(tmp_path / "v.mp4"), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert len(list((tmp_path / "out" / "v").glob("*.png"))) == 5
    with av.open(str(tmp_path / "out" / "v.overlay.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 5 and film.streams.video[0].average_rate == 10


def test_no_image_is_written_over(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = _image(tmp_path / "in" / "a.png")
    before = image.read_bytes()
    for given, out in ((image, "in"), (image.parent, "in"), (image.parent, "in/out")):
        assert predict.cli([str(run), str(given), "--out", str(tmp_path / out), "--device", "cpu"]) == 2
        assert "lies among the images" in capsys.readouterr().err and image.read_bytes() == before
    photo = _image(tmp_path / "photos" / "b.jpg")
    assert predict.cli([str(run), str(photo), "--out", str(photo.parent), "--device", "cpu"]) == 0
    _image(tmp_path / "in" / "a.jpg")
    assert predict.cli([str(run), str(image.parent), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "would both give a.png" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nothing", None, "expected an image, a folder of images or a video"),
        ("a.txt", b"x", r"expected an image \("),
        ("a.mp4", b"no video", "expected a video that can be decoded"),
    ],
)
def test_what_cannot_be_segmented_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert predict.cli([str(run), str(tmp_path / name), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert pytest.importorskip("re").search(sentence, error) and error.count("\n") == 1


def test_safetensors_hold_every_weight_and_the_card_says_what_it_is(run: Path, tmp_path: Path) -> None:
    assert export.cli([str(run), "--out", str(tmp_path)]) == 0
    expected = load(run).weights
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "unet/resnet18" in card and "floor, wall, chair" in card and "Licence" in card


def test_timm_loads_the_encoder(run: Path, tmp_path: Path) -> None:
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "timm"]) == 0
    model = timm.create_model("resnet18", num_classes=0)
    loaded = model.load_state_dict(load_file(tmp_path / "resnet18.safetensors"))
    assert not loaded.missing_keys and not loaded.unexpected_keys
    image = torch.rand(1, 3, 64, 64)
    theirs = model.eval().forward_features(image)
    torch.testing.assert_close(theirs, restored(load(run)).encoder(image)[-1])


def test_the_encoder_of_a_plain_segnet_has_a_name() -> None:
    assert [encoder_name(name) for name in ("segnet", "classify/segnet", "stitched/unet/resnet18")] == [
        "vgg16_bn", "vgg16_bn", "resnet18",
    ]  # fmt: skip


def test_smp_loads_the_whole_network(run: Path, tmp_path: Path) -> None:
    import segmentation_models_pytorch as smp

    assert export.cli([str(run), "--out", str(tmp_path), "--form", "smp"]) == 0
    image = torch.rand(1, 3, 64, 64)
    net = smp.from_pretrained(str(tmp_path / "smp")).eval()
    torch.testing.assert_close(net(image), restored(load(run))(image))


@pytest.mark.slow
def test_torch_export_takes_any_batch(run: Path, tmp_path: Path) -> None:
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "torch"]) == 0
    images = torch.rand(3, 3, 64, 64)
    found = torch.export.load(tmp_path / "model.pt2").module()(images)
    torch.testing.assert_close(found, logits(restored(load(run)), images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_runs_to_the_stated_tolerance(run: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "onnx", "--size", "45x61"]) == 0
    images = torch.rand(1, 3, 45, 61)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"images": images.numpy()})
    expected = logits(restored(load(run)), images).detach().numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_network_of_our_own_is_no_smp_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record("segment", "segnet/vgg11_bn", CLASSES, UNIT, (64, 64), 5, 1, {})
    save(tmp_path / "run", record, build_network("segnet/vgg11_bn", 3).state_dict(), {})
    assert export.cli([str(tmp_path / "run"), "--out", str(tmp_path), "--form", "smp"]) == 2
    assert "is not one of segmentation-models-pytorch's networks" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["fastseg.predict", "fastseg.export"])
def test_help_answers_without_torch(program: str) -> None:
    code = f"import sys, {program} as p; p.cli(['--help']) if False else None; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
