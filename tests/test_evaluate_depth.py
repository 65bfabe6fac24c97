from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fastseg.checkpoint import Record, load, save
from fastseg.data.augment import UNIT
from fastseg.evaluate import cli
from fastseg.evaluate_depth import measured_depth
from fastseg.inference import check_labels_pixels, restored
from fastseg.inference_depth import depth_alone, depth_limits, depths
from fastseg.metrics_depth import DepthSums
from fastseg.nets import build_network

pytestmark = pytest.mark.torch
NETWORK = "depth-pose/skip/mobilenetv3_small_050"
CONFIG = {"supervision": "video", "depth": {"nearest": 0.5, "farthest": 10.0}}
RECORD = Record("monodepth", NETWORK, ("depth",), UNIT, (32, 64), 5, 1, CONFIG)


class Ramp(nn.Module):
    """A depth network that sees 10 m where a picture is black and 1 m where it is white, when told 1 to 10 m."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return torch.logit(images.mean(1, keepdim=True), eps=1e-6) + self.zero


class Walls:
    """Two pictures of a wall whose left half is far and whose right half is near; the second is half as far."""

    def ids(self) -> list[str]:
        return ["far", "near"]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        image = np.zeros((40, 64, 3), np.uint8)
        image[:, 32:] = 255
        return image, np.zeros((40, 64), np.uint8)

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        found = np.full((40, 64), 10.0, np.float32)
        found[:, 32:] = 1.0
        return found / (index + 1)


def test_depth_is_that_of_the_disparity_at_the_depths_own_size() -> None:
    sums = measured_depth(Ramp(), Walls(), (40, 64), UNIT, (1.0, 10.0), DepthSums(), batch=1)
    assert sums.images[0] is not None and sums.images[0].rel == pytest.approx(0, abs=1e-4)
    assert sums.images[1] is not None and sums.images[1].rel == pytest.approx(1, abs=1e-4)
    scaled = measured_depth(Ramp(), Walls(), (40, 64), UNIT, (1.0, 10.0), DepthSums(median_scaling=True), batch=2)
    assert scaled.mean().rel == pytest.approx(0, abs=1e-4) and scaled.ratios == pytest.approx([1.0, 0.5], rel=1e-4)
    grown = measured_depth(Ramp(), Walls(), (80, 128), UNIT, (1.0, 10.0), DepthSums())
    assert grown.images[0] is not None and grown.images[0].delta1 > 0.95


def test_flips_of_a_pointwise_network_change_nothing() -> None:
    image = torch.randint(0, 255, (3, 32, 64), dtype=torch.uint8)
    once, twice = (next(iter(depths(Ramp(), [image], [(32, 64)], UNIT, (1, 9), flip))) for flip in (False, True))
    torch.testing.assert_close(once, twice)


def _saved(out: Path, record: Record = RECORD) -> Path:
    return save(out, record, build_network(record.network, len(record.classes), seed=1).state_dict(), {})


def test_the_network_of_the_motion_is_left_out(tmp_path: Path) -> None:
    found = load(_saved(tmp_path))
    alone = depth_alone(found)
    assert alone.record.network == "depth/skip/mobilenetv3_small_050" and depth_limits(alone) == (0.5, 10.0)
    assert {key.partition(".")[0] for key in alone.weights} == {"encoder", "decoder", "segmentation_head", "coarser"}
    image = torch.rand(1, 3, 32, 64)
    assert torch.equal(restored(alone)(image), restored(found)(image))
    with pytest.raises(ValueError, match=r"does not say depth\.nearest"):
        depth_limits(replace(found, record=replace(RECORD, config={})))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three RGB-D frames, one of them far away."""
    root, random = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    for folder in ("color", "depth"):
        (root / folder).mkdir()
    camera = {"fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5, "width": 64, "height": 48, "depth_scale": 0.001}
    (root / "intrinsics.json").write_text(json.dumps(camera))
    for index, farthest in enumerate((3000, 4000, 60000)):
        Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(root / "color" / f"{index}.png")
        depth = random.integers(farthest // 2, farthest, (48, 64), dtype=np.uint16)
        Image.fromarray(depth).save(root / "depth" / f"{index}.png")
    return root


def test_the_program_scores_frames_with_median_scaling_for_video(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = _saved(tmp_path / "run"), tmp_path / "scores.json"
    words = ["--checkpoint", str(folder), "--data", "folder", "--root", str(frames), "--device", "cpu"]
    assert cli([*words, "--json", str(file), "--views.flip"]) == 0
    found: dict[str, Any] = json.loads(file.read_text())
    assert {"rel", "sq_rel", "rmse", "rmse_log", "log10", "delta1", "delta2", "delta3"} <= found.keys()
    assert found["over_pixels"]["pixels"] == sum(each["pixels"] for each in found["per_image"]) == found["pixels"]
    assert found["rel"] == pytest.approx(np.mean([each["rel"] for each in found["per_image"]]))
    assert found["protocol"]["images"] == 3 and found["protocol"]["depth"]["scaling"] == "auto"
    said = capsys.readouterr().out
    assert "median scaling" in said and "abs rel" in said and "mean over" in said
    assert cli([*words, "--json", str(file), "--depth.scaling", "none", "--depth.crop", "garg"]) == 0
    assert json.loads(file.read_text())["pixels"] < found["pixels"] and "no scaling" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "does"), [("flow", "predicts optical flow"), ("inpaint", "restores pictures")])
def test_networks_of_other_pretraining_label_nothing(kind: str, does: str, tmp_path: Path) -> None:
    found = load(_saved(tmp_path, replace(RECORD, network=f"{kind}/skip/mobilenetv3_small_050")))
    with pytest.raises(ValueError, match=f"its network {does} .*, and here pixels are to be labelled"):
        check_labels_pixels(found)


def test_what_does_not_go_together_is_one_sentence(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depth = _saved(tmp_path / "depth")
    labels = _saved(tmp_path / "labels", replace(RECORD, network="unet/mobilenetv3_small_050", classes=("a", "b")))
    cases = [
        (depth, "camvid", [], "predicts depth, and camvid has none; --data is one of folder, 7scenes"),
        (labels, "tum", [], "labels pixels, and tum has no labels; --data is one of folder, camvid"),
        (labels, "rooms", ["--depth.crop", "garg"], "--depth is for networks that predict depth"),
        (depth, "rooms", ["--classes", "wall,floor"], "--classes is for networks that label pixels"),
        (depth, "rooms", ["--boundaries"], "--boundaries is for networks that label pixels"),
        (depth, "rooms", ["--views.scales", "0.5,1"], "--views of a depth network are flips alone"),
        (depth, "rooms", ["--split", "test"], "rooms with depth have no splits; got --split test"),
        (depth, "rooms", ["--depth.nearest", "90"], "0 < nearest < farthest"),
        (depth, "folder", ["--depth.nearest", "70"], "no pixel of any image has true depth within the limits"),
    ]
    for checkpoint, data, words, sentence in cases:
        given = ["--checkpoint", str(checkpoint), "--data", data, "--root", str(frames), "--device", "cpu", *words]
        assert cli(given) == 2
        said = capsys.readouterr().err
        assert sentence in said and said.count("\n") == 1
