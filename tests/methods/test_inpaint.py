"""Restoring pictures from which rectangles were removed, on pictures that a small network learns in seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.checkpoint import load
from fastseg.data.augment import IMAGENET, NOTHING, AugmentConfig
from fastseg.data.batches import Batch, Scene
from fastseg.data.unlabelled import ClipImages
from fastseg.inference import restored
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.inpaint import drawn_holes, inpaint_loss
from fastseg.methods.monodepth import Monodepth
from fastseg.methods.pretext import InpaintConfig
from fastseg.nets import build_network, logits
from fastseg.train import cli, fit
from tests.squares import Squares, run_of

pytestmark = pytest.mark.torch
LOOP = LoopConfig(device="cpu", workers=0, threads=1, save_every=1000, log_every=1)
TINY = "skip/mobilenetv3_small_050"
OPTIM = OptimConfig(lr=1e-3, optimizer="adamw", weight_decay=0.0)


class Stripes:
    """Pictures of coloured stripes, four of one recording; no camera, no other frame."""

    def ids(self) -> list[str]:
        return [f"stripes/{index}" for index in range(4)]

    def __len__(self) -> int:
        return 4

    def clip(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], None, None]:
        image = np.full((64, 96, 3), 40, np.uint8)
        image[:, (np.arange(96) // 8 + index) % 2 == 0, index % 3] = 220
        return image, np.empty((0, 64, 96, 3), np.uint8), None, None


def _method(out: Path, **changed: object) -> Monodepth:
    fixed = {"root": "nowhere", "out": out, "objective": "inpaint", "network": TINY, "size": "64x96", "batch": 4}
    fixed |= {"steps": 4, "optim": OPTIM, "loop": LOOP, "augment": NOTHING}
    return Monodepth(**{**fixed, **changed})  # type: ignore[arg-type]


def test_a_network_restores_pictures_and_goes_into_segment(tmp_path: Path) -> None:
    method, pictures = _method(tmp_path / "inpaint", steps=40, size="32x64"), ClipImages(Stripes())
    assert fit(method, pictures) == 0
    losses = [json.loads(line)["loss"] for line in (method.out / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:5])
    found = load(method.out)
    assert found.record.network == f"inpaint/{TINY}"
    net = restored(found)
    assert logits(net, torch.rand(1, 3, 50, 70)).shape == (1, 3, 50, 70)
    segment = run_of(tmp_path / "segment", network=TINY, steps=1, init_from=str(method.out))
    assert fit(segment, Squares()) == 0
    moved = json.loads((segment.out / "transfer.json").read_text())
    assert {name.partition(".")[0] for name in moved["matched"]} == {"encoder", "decoder"} and not moved["reshaped"]
    assert {name.partition(".")[0] for name in moved["missing"]} == {"segmentation_head"}


def test_the_same_key_removes_the_same_rectangles_and_another_does_not() -> None:
    settings = InpaintConfig()
    first, again, other = (drawn_holes((64, 96), settings, key) for key in ((0, 1, 2), (0, 1, 2), (0, 1, 3)))
    assert torch.equal(first, again) and not torch.equal(first, other)
    shares = [float(drawn_holes((64, 96), settings, (7, 0, index)).float().mean()) for index in range(50)]
    assert min(shares) > 0.15 and max(shares) < 0.6
    one = drawn_holes((64, 96), InpaintConfig(holes=1, smallest=0.5, largest=0.5), (0, 0, 0))
    rows, columns = one.any(1).sum(), one.any(0).sum()
    assert (int(rows), int(columns), int(one.sum())) == (32, 48, 32 * 48)
    assert bool(drawn_holes((3, 2), InpaintConfig(holes=1, smallest=1, largest=1), (0, 0, 0)).all())


def _batches(method: Monodepth, start: int = 0, rank: int = 0, world: int = 1) -> list[Batch]:
    return list(method.batches(ClipImages(Stripes()), start, rank, world))


@pytest.mark.parametrize("workers", [0, 2])
def test_which_pixels_a_step_removes_depends_on_nothing_else(tmp_path: Path, workers: int) -> None:
    method = _method(tmp_path)
    whole = _batches(method)
    later = _batches(replace(method, loop=replace(LOOP, workers=workers)), start=2)
    assert all(torch.equal(one.labels, two.labels) for one, two in zip(whole[2:], later, strict=True))
    ranks = [_batches(method, 0, rank, 2) for rank in (0, 1)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(batch.labels, torch.cat([part.labels for part in parts]))
    assert not torch.equal(
        whole[0].labels[whole[0].ids.index("stripes/1")], whole[1].labels[whole[1].ids.index("stripes/1")]
    )


def test_what_an_image_does_not_show_is_not_removed(tmp_path: Path) -> None:
    small = AugmentConfig(flip=0, min_scale=0.5, max_scale=0.5, jitter=0)
    labels = torch.stack([batch.labels for batch in _batches(_method(tmp_path, augment=small))])
    assert float((labels == 255).float().mean()) == pytest.approx(0.75)
    assert bool((labels == 1).any()) and bool((labels == 0).any())


class Grey(torch.nn.Module):
    """Says what it was shown, and then grey everywhere."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = images
        return torch.zeros_like(images)


@pytest.mark.parametrize(("kept", "wanted"), [(1.0, (0.5 + 0.25) / 2), (0.0, 0.5 / 2), (0.5, (0.5 + 0.125) / 2)])
def test_the_error_of_removed_and_kept_pixels_is_the_formula(kept: float, wanted: float) -> None:
    images = torch.zeros(1, 3, 2, 4, dtype=torch.uint8)
    images[:, :, 1], labels = 63.75 * 3, torch.tensor([[[1] * 4, [0] * 4]], dtype=torch.uint8)
    shown = IMAGENET(images)
    images, net = images.float(), Grey()
    images[:, :, 1] = 63.75 * 3
    loss = inpaint_loss(net, shown, labels, Scene(images), InpaintConfig(kept=kept))
    assert float(loss) == pytest.approx(wanted)
    assert not net.seen[:, :, 0].any() and torch.equal(net.seen[:, :, 1], shown[:, :, 1])
    labels[:, :, 3] = 255
    assert float(inpaint_loss(net, shown, labels, Scene(images), InpaintConfig(kept=kept))) == pytest.approx(wanted)
    labels[:] = 255
    assert float(inpaint_loss(net, shown, labels, Scene(images), InpaintConfig())) == 0


def test_a_run_stopped_and_resumed_is_the_same_to_the_bit(tmp_path: Path) -> None:
    fixed = {"size": "32x64", "batch": 2, "optim": replace(OPTIM, schedule="constant", accumulate=2)}
    whole, parts = (_method(tmp_path / name, network="linknet/mobilenetv3_small_050", **fixed) for name in ("w", "p"))
    assert fit(whole, ClipImages(Stripes())) == 0
    assert fit(replace(parts, steps=2), ClipImages(Stripes())) == 0
    assert fit(replace(parts, resume=True), ClipImages(Stripes())) == 0
    one, two = (load(tmp_path / name).weights for name in ("w", "p"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_rooms_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "rooms.json").write_text(json.dumps({"seed": 1, "count": 3, "views": 3, "height": 48, "width": 64}))
    flags = ["--root", str(tmp_path), "--clips.source", "rooms", "--network", TINY, "--size", "32x64", "--batch", "2"]
    flags += ["--steps", "2", "--loop.device", "cpu", "--loop.workers", "0", "--loop.threads", "1"]
    flags += ["--inpaint.holes", "3", "--out", str(tmp_path / "run")]
    assert cli(["monodepth", "--objective", "inpaint", *flags]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["inpaint"]["holes"] == 3


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"objective inpaint learns from the pictures of video.*not sensor"):
        _method(tmp_path, supervision="sensor")
    with pytest.raises(ValueError, match=r"inpaint\.holes must lie between 1 and 1000; got 0"):
        InpaintConfig(holes=0)
    with pytest.raises(ValueError, match=r"0 < inpaint\.smallest <= inpaint\.largest <= 1; got 0\.5 and 0\.2"):
        InpaintConfig(smallest=0.5, largest=0.2)
    with pytest.raises(ValueError, match=r"inpaint\.kept must lie in \[0, 1\]; got 2"):
        InpaintConfig(kept=2)
    with pytest.raises(ValueError, match="a network of inpaint has one kind of output; got 2"):
        build_network(f"inpaint/{TINY}", 2)
