from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fastseg.checkpoint import load
from fastseg.nets import CrossStitch, build_network
from fastseg.stitches import draw_stitches, read_shares
from fastseg.train import cli as train

pytestmark = pytest.mark.torch
NETWORK = "unet/resnet18"


def test_the_figures_are_mean_and_spread_over_the_channels() -> None:
    net = build_network("stitched/segnet/vgg11_bn", 3)
    assert isinstance(net, CrossStitch)
    with torch.no_grad():
        net.a_h[1].copy_(torch.linspace(0.0, 1.0, net.a_h[1].numel()).reshape(net.a_h[1].shape))
        net.a_s[3].fill_(0.5)
    found = net.figures()
    known = np.linspace(0, 1, net.a_h[1].numel())
    assert found["a_h_2"] == pytest.approx(0.5) and found["a_h_2_std"] == pytest.approx(known.std(), abs=1e-6)
    assert (found["a_s_4"], found["a_s_4_std"]) == (0.5, 0.0)
    assert found["a_h_1"] == pytest.approx(0.1) and found["a_s_1"] == pytest.approx(0.9) and len(found) == 16


@pytest.mark.parametrize("share", ["channel", "scalar"])
def test_a_run_writes_and_draws_what_each_pooling_took(tmp_path: Path, share: str) -> None:
    for index in range(4):
        random = np.random.default_rng(index)
        for folder, shape, high in (("train", (36, 48, 3), 256), ("trainannot", (36, 48), 12)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(random.integers(0, high, shape, dtype=np.uint8)).save(tmp_path / folder / f"{index}.png")
    save_file(build_network(NETWORK, 9, seed=7).state_dict(), tmp_path / "w.safetensors")
    out, flags = tmp_path / "out", ["--loop.device", "cpu", "--loop.workers", "0", "--loop.threads", "1"]
    words = ["--data", "camvid", "--root", str(tmp_path), "--out", str(out), "--network", NETWORK, "--batch", "2"]
    words += [
        "--size",
        "32x32",
        "--steps",
        "4",
        "--loop.log_every",
        "2",
        "--init-from",
        str(tmp_path / "w.safetensors"),
    ]
    words += ["--transfer.mode", "cross_stitch", "--transfer.share", share, "--optim.lr", "0.1"]
    assert train(["segment", *words, *flags]) == 0
    shares = read_shares(out / "metrics.jsonl")
    assert sorted(shares) == [1, 2, 3, 4] and all(rows[:, 0].tolist() == [2, 4] for rows in shares.values())
    weights = load(out).weights
    for pooling, rows in shares.items():
        whole = weights[f"a_h.{pooling - 1}"]
        assert rows[-1, 1] == pytest.approx(float(whole.mean()), rel=1e-5)
        assert whole.numel() == (1 if share == "scalar" else whole.shape[0])
        assert (rows[-1, 2] > 0) == (share == "channel")
    drawing = ElementTree.fromstring((out / "stitches.svg").read_text())
    lines = [each for each in drawing.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 4 and "pooling 4" in "".join(drawing.itertext())


def test_a_run_without_stitches_draws_nothing(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    assert draw_stitches(tmp_path) is None and not (tmp_path / "stitches.svg").exists()
