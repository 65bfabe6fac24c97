from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fastseg import export, predict
from fastseg.checkpoint import Record, load, save
from fastseg.data.augment import UNIT
from fastseg.inference import restored
from fastseg.nets import build_network, disparities
from fastseg.nets.depth import depth_of
from fastseg.predict_look import millimetres

pytestmark = pytest.mark.torch
NETWORK = "depth-pose/skip/mobilenetv3_small_050"
LIMITS = (0.5, 10.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    config = {"supervision": "video", "batch": 4, "root": "x", "depth": {"nearest": LIMITS[0], "farthest": LIMITS[1]}}
    record = Record("monodepth", NETWORK, ("depth",), UNIT, (64, 96), 5, 1, config)
    save(out, record, build_network(NETWORK, 1, seed=3).state_dict(), {})
    return out


def _depth(run: Path, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return depth_of(disparities(restored(load(run)), images)[0][:, 0], *LIMITS)


def _image(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(path)
    return path


def test_an_image_becomes_depth_in_millimetres_and_a_picture(run: Path, tmp_path: Path) -> None:
    image, out = _image(tmp_path / "a.png"), tmp_path / "out"
    assert predict.cli([str(run), str(image), "--out", str(out), "--device", "cpu"]) == 0
    with Image.open(image) as picture:
        expected = _depth(run, UNIT(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]))[0].numpy()
    with Image.open(out / "a.png") as found:
        assert found.mode == "I;16" and np.abs(np.asarray(found) / 1000 - expected).max() <= 0.0005 + 1e-5
    with Image.open(out / "a.depth.jpg") as found:
        assert found.size == (96, 64)
    words = [str(run), str(image), "--out", str(out), "--device", "cpu", "--depth", "npy", "--no-overlay"]
    assert predict.cli(words) == 0
    exact = np.load(out / "a.npy")
    assert exact.dtype == np.float32 and np.abs(exact - expected).max() < 1e-5
    assert sorted(path.name for path in out.iterdir()) == ["a.depth.jpg", "a.npy", "a.png"]


def test_depth_beyond_a_png_is_no_measurement() -> None:
    assert millimetres(np.array([[0.0004, 1.2344, 65.535, 65.6, 100.0]])).tolist() == [[0, 1234, 65535, 0, 0]]


def test_depth_takes_flips_alone(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(run), str(_image(tmp_path / "a.png")), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert predict.cli([*words, "--views.flip"]) == 0
    assert predict.cli([*words, "--views.window", "32x32"]) == 2
    assert "--views of a depth network are flips alone" in capsys.readouterr().err


def test_the_export_has_no_motion_network_and_the_card_says_what_depth_is(run: Path, tmp_path: Path) -> None:
    assert export.cli([str(run), "--out", str(tmp_path)]) == 0
    found = load_file(tmp_path / "model.safetensors")
    assert not [key for key in found if key.startswith("pose.")]
    assert found.keys() == build_network("depth/skip/mobilenetv3_small_050", 1).state_dict().keys()
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "0.5 to 10 units of one unknown length" in card and "# depth/skip/mobilenetv3_small_050" in card


@pytest.mark.slow
def test_torch_export_gives_metres_of_any_batch(run: Path, tmp_path: Path) -> None:
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "torch", "--size", "45x61"]) == 0
    images = torch.rand(3, 3, 45, 61)
    found = torch.export.load(tmp_path / "model.pt2").module()(images)
    torch.testing.assert_close(found, _depth(run, images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_gives_metres_to_the_stated_tolerance(run: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert export.cli([str(run), "--out", str(tmp_path), "--form", "onnx"]) == 0
    images = torch.rand(1, 3, 64, 96)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (found,) = session.run(["depth"], {"images": images.numpy()})
    expected = _depth(run, images).numpy()
    assert found.shape == (1, 64, 96) and np.abs(found - expected).max() <= 1e-4 * expected.max()
