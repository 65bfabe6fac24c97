"""Depth from video, from known poses and from a sensor, on a network that learns in seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.checkpoint import load
from fastseg.data.augment import IMAGENET, NOTHING
from fastseg.data.batches import Scene
from fastseg.data.unlabelled import ClipImages, MeasuredImages
from fastseg.inference import restored
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.depth_losses import clip_loss, learned_motion, learned_poses, sensor_loss
from fastseg.methods.monodepth import DepthConfig, Monodepth
from fastseg.methods.start import start
from fastseg.nets import disparities
from fastseg.nets.depth import depth_of
from fastseg.nets.pose import rigid
from fastseg.ops.photometric import photometric_loss
from fastseg.optim import rate
from fastseg.train import cli, fit
from tests.room_clips import WalkClips
from tests.squares import Squares, run_of

pytestmark = pytest.mark.torch
LOOP = LoopConfig(device="cpu", workers=0, threads=1, save_every=1000, log_every=1)
TINY = "skip/mobilenetv3_small_050"
OPTIM = OptimConfig(lr=1e-3, optimizer="adamw", weight_decay=0.0)
RANGE = DepthConfig(nearest=0.5, farthest=10.0)


def _method(supervision: str, out: Path, **changed: object) -> Monodepth:
    fixed = {"root": "nowhere", "out": out, "network": TINY, "size": "64x96", "batch": 2, "steps": 3}
    fixed |= {"optim": OPTIM, "loop": LOOP, "depth": RANGE, "augment": NOTHING}
    return Monodepth(supervision, **{**fixed, **changed})  # type: ignore[arg-type]


def _losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def walk() -> WalkClips:
    return WalkClips(3, 18, 64, 96)


class Planes:
    """Textured pictures of a plane: its depth is 2 m at the left of the image and 5 m at its right, with holes."""

    def ids(self) -> list[str]:
        return [f"plane/{index}" for index in range(4)]

    def __len__(self) -> int:
        return 4

    def clip(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], None, None]:
        image = np.random.default_rng(index).integers(0, 40, (64, 96, 3), dtype=np.uint8)
        image[..., 0] += np.linspace(0, 200, 96, dtype=np.uint8)
        return image, np.empty((0, 64, 96, 3), np.uint8), None, None

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        found = np.tile(np.linspace(2, 5, 96, dtype=np.float32), (64, 1))
        found[10:20, 20:40] = (0, np.nan, np.inf, -1)[index]
        return found


def test_the_defaults_are_the_papers() -> None:
    method = Monodepth("video", root="clips", out=Path("run"))
    assert (method.network, method.size, method.batch, method.steps) == ("skip/resnet18", "192x640", 12, 155_000)
    assert (method.optim.lr, method.optim.optimizer, method.optim.weight_decay) == (1e-4, "adamw", 0.0)  # = Adam
    assert rate(116_249, method.steps, method.optim) == 1e-4 and rate(116_250, method.steps, method.optim) == 1e-5
    found = method.depth
    assert (found.nearest, found.farthest, found.alpha, found.ssim, found.smoothness) == (0.1, 100, 0.85, "box3", 1e-3)
    changes = method.augment
    assert (changes.flip, changes.jitter, changes.hue, changes.jitter_chance) == (0.5, 0.2, 0.1, 0.5)


@pytest.mark.parametrize("supervision", [pytest.param("video", marks=pytest.mark.slow), "stereo"])
def test_the_photometric_error_falls_and_the_encoder_goes_into_segment(
    supervision: str, walk: WalkClips, tmp_path: Path
) -> None:
    method = _method(supervision, tmp_path / "depth", steps=18)
    assert fit(method, ClipImages(walk)) == 0
    losses = _losses(method.out)
    assert np.isfinite(losses).all() and np.mean(losses[-6:]) < 0.95 * np.mean(losses[:6])
    record = load(method.out).record
    assert record.method == "monodepth" and record.classes == ("depth",)
    assert record.network == ("depth-pose/" if supervision == "video" else "depth/") + TINY
    segment = run_of(tmp_path / "segment", network=TINY, steps=1, init_from=str(method.out))
    assert fit(segment, Squares()) == 0
    moved = json.loads((segment.out / "transfer.json").read_text())
    assert {name.partition(".")[0] for name in moved["matched"]} == {"encoder", "decoder"} and not moved["reshaped"]
    assert {name.partition(".")[0] for name in moved["missing"]} == {"segmentation_head"}


def test_a_sensor_teaches_a_plane(tmp_path: Path) -> None:
    method = _method("sensor", tmp_path, steps=40, batch=4)
    assert fit(method, MeasuredImages(Planes())) == 0
    losses = _losses(tmp_path)
    assert losses[-1] < 0.2 * losses[0]
    found = load(tmp_path)
    net = restored(found)
    images = torch.stack([torch.from_numpy(Planes().clip(index)[0]).permute(2, 0, 1) for index in range(4)])
    with torch.no_grad():
        depth = depth_of(disparities(net.train(), IMAGENET(images))[0], RANGE.nearest, RANGE.farthest)
    columns = depth.mean((0, 1, 2))
    assert float(columns[-10:].mean() - columns[:10].mean()) > 1.5


def test_a_run_stopped_and_resumed_is_the_same_to_the_bit(walk: WalkClips, tmp_path: Path) -> None:
    whole, first = (_method("video", tmp_path / name, steps=3, size="32x64", batch=1) for name in ("whole", "parts"))
    optim = replace(OPTIM, schedule="constant")
    assert fit(replace(whole, optim=optim), ClipImages(walk)) == 0
    assert fit(replace(first, optim=optim, steps=2), ClipImages(walk)) == 0
    assert fit(replace(first, optim=optim, resume=True), ClipImages(walk)) == 0
    one, two = (load(tmp_path / name).weights for name in ("whole", "parts"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def _scene(walk: WalkClips, index: int = 2) -> tuple[Scene, torch.Tensor]:
    target, sources, camera, poses = walk.clip(index)
    intrinsics = torch.tensor([[camera.fx, camera.fy, camera.cx, camera.cy]], dtype=torch.float64)
    assert poses is not None
    frames = [torch.from_numpy(each.copy()) for each in (target, sources, poses, walk.target(index).depth)]
    images = frames[0].permute(2, 0, 1)[None]
    scene = Scene(images, frames[3][None], intrinsics, frames[1].permute(0, 3, 1, 2)[None], frames[2][None])
    return scene, torch.zeros(1, 64, 96, dtype=torch.uint8)


def _disparity(depth: torch.Tensor) -> torch.Tensor:
    """The disparity within RANGE that stands for a depth."""
    low, high = 1 / RANGE.farthest, 1 / RANGE.nearest
    return ((1 / depth - low) / (high - low)).clamp(0, 1)[:, None]


def test_the_true_depth_explains_a_clip_better_than_any_constant(walk: WalkClips) -> None:
    scene, labels = _scene(walk)
    assert scene.depth is not None
    plain = replace(RANGE, smoothness=0.0)
    true = float(clip_loss([_disparity(scene.depth)], scene, labels, plain, None))
    others = [torch.full_like(scene.depth, each) for each in (0.8, 1.5, 2.5, 4.0, 9.0)]
    assert true < 0.95 * min(float(clip_loss([_disparity(each)], scene, labels, plain, None)) for each in others)
    assert float(sensor_loss([_disparity(scene.depth)], scene, RANGE)) < 1e-4  # metres; float32 of 1 / (1 / d)


def test_motion_is_always_learned_from_two_frames_in_order_of_time() -> None:
    class Forwards(torch.nn.Module):
        """By the frames' difference."""

        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            ahead = (second - first).mean((1, 2, 3))
            return rigid(torch.stack([ahead, 0 * ahead, 0 * ahead], 1), torch.stack([0 * ahead, ahead, ahead], 1))

    moved = Forwards()
    target, sources = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 2, 3, 4, 4), 0.3)
    sources[:, 1] = 0.9
    found = learned_poses(moved, target, sources, (-1, 1))
    torch.testing.assert_close(found[:, 0] @ moved(sources[:, 0], target), torch.eye(4).expand(2, 4, 4))
    torch.testing.assert_close(found[:, 1], moved(target, sources[:, 1]))


def test_only_labelled_pixels_count(walk: WalkClips) -> None:
    scene, labels = _scene(walk)
    assert scene.depth is not None
    plain, found = replace(RANGE, smoothness=0.0), torch.full((1, 1, 64, 96), 0.5, requires_grad=True)
    labels[:, 20:] = 255
    torch.autograd.backward(clip_loss([found], scene, labels, plain, None))
    assert found.grad is not None and found.grad[:, :, :20].any() and not found.grad[:, :, 21:].any()
    labels[:] = 255
    assert float(clip_loss([found], scene, labels, plain, None).detach()) == 0


@pytest.mark.parametrize("moved", [0.2, 0.8, 1.6, 5.0])  # 6, 24, 48 and all of 96 columns leave the source frames
def test_pixels_that_leave_the_source_frames_do_not_count(walk: WalkClips, moved: float) -> None:
    scene, labels = _scene(walk)
    assert scene.sources is not None and scene.camera is not None
    labels[:, :9] = 255
    pose = torch.eye(4)[None, None].repeat(1, 2, 1, 1)
    pose[..., 0, 3] = moved
    camera, found = scene.camera.float(), torch.full((1, 1, 64, 96), 0.2, requires_grad=True)
    plain = replace(RANGE, smoothness=0.0, padding="zeros")
    loss = clip_loss([found], scene, labels, plain, (camera, pose))
    depth = depth_of(found.detach()[:, 0], RANGE.nearest, RANGE.farthest).requires_grad_()
    frames = (scene.images.float() / 255).contiguous(), (scene.sources.float() / 255).contiguous()
    error, _, valid = photometric_loss(*frames, depth, camera, pose, padding="zeros", reduce="mean")
    counted = error[(labels == 0) & valid.any(1)]
    assert (counted.numel() < 30) == (moved == 5.0)
    expected = counted.mean() if counted.numel() else torch.zeros(())
    torch.testing.assert_close(loss.detach(), expected.detach())
    if counted.numel():
        torch.autograd.backward([loss, counted.mean()])
        assert found.grad is not None and depth.grad is not None
        slope = (1 / RANGE.nearest - 1 / RANGE.farthest) * depth.detach() ** 2  # -d depth / d disparity
        torch.testing.assert_close(found.grad[:, 0], -slope * depth.grad)


def test_what_an_automask_drops_does_not_count(walk: WalkClips) -> None:
    scene, labels = _scene(walk)
    still = torch.eye(4)[None, None].repeat(1, 2, 1, 1)
    assert scene.sources is not None and scene.camera is not None
    beside = still.clone()
    beside[..., 0, 3] = 0.4
    how = replace(RANGE, smoothness=0.0, automask=True)
    found, camera = torch.full((1, 1, 64, 96), 0.2), scene.camera.float()
    frames = (scene.images.float() / 255).contiguous(), (scene.sources.float() / 255).contiguous()
    depth = depth_of(found[:, 0], RANGE.nearest, RANGE.farthest)
    error, choice, _ = photometric_loss(*frames, depth, camera, beside, reduce="mean", automask=True)
    assert 0.1 < float((choice < 0).float().mean()) < 0.9
    torch.testing.assert_close(clip_loss([found], scene, labels, how, (camera, beside)), error[choice >= 0].mean())


@pytest.mark.parametrize("how", [{"reduce": "min", "automask": True}, {"padding": "zeros"}, {"ssim": "gauss11"}])
def test_every_option_of_the_error_has_finite_gradients(walk: WalkClips, how: dict[str, object]) -> None:
    scene, labels = _scene(walk)
    net = start(f"depth-pose/{TINY}", 1, 0, "").net
    motion = learned_motion(net.pose, scene)  # type: ignore[arg-type]
    found = disparities(net, IMAGENET(scene.images))
    loss = clip_loss(found, scene, labels, replace(RANGE, **how), motion)  # type: ignore[arg-type]
    torch.autograd.backward(loss)
    gradients = [each.grad for name, each in net.named_parameters() if "decoder" in name or "pose.head" in name]
    assert bool(loss.isfinite()) and all(each is not None and each.isfinite().all() for each in gradients)
    assert any(each is not None and each.any() for each in gradients)


def test_what_is_missing_is_one_sentence(walk: WalkClips, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the poses of its source frames are not known"):
        fit(_method("stereo", tmp_path / "a"), ClipImages(WalkClips(3, 14, 64, 96, posed=False)))
    with pytest.raises(ValueError, match="clips are asked for, but this data set is not one of video or stereo"):
        fit(_method("video", tmp_path / "b"), MeasuredImages(Planes()))
    with pytest.raises(ValueError, match="depth is asked for, but this data set has no depth"):
        fit(_method("sensor", tmp_path / "c"), ClipImages(walk))
    with pytest.raises(ValueError, match="0 < nearest < farthest"):
        DepthConfig(nearest=3, farthest=2)
    with pytest.raises(ValueError, match=r"loop\.eval_every is for segment"):
        _method("sensor", tmp_path, loop=replace(LOOP, eval_every=1))


@pytest.mark.parametrize("words", [["sensor"], ["stereo", "--clips.pair", "false", "--clips.offsets", "[-3,3]"]])
def test_rooms_from_the_command_line(words: list[str], tmp_path: Path) -> None:
    room = {"seed": 1, "count": 12, "views": 12, "height": 48, "width": 64}
    (tmp_path / "rooms.json").write_text(json.dumps(room))
    flags = ["--root", str(tmp_path), "--clips.source", "rooms", "--network", TINY, "--size", "32x64", "--batch", "2"]
    flags += ["--steps", "2", "--loop.device", "cpu", "--loop.workers", "0", "--loop.threads", "1"]
    flags += ["--depth.farthest", "20", "--optim.lr", "1e-3", "--out", str(tmp_path / "run")]
    assert cli(["monodepth", "--supervision", *words, *flags]) == 0
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["optim"]["optimizer"] == "adamw" and kept["optim"]["lr"] == 1e-3 and kept["depth"]["nearest"] == 0.1


def test_bad_clips_from_the_command_line_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rooms.json").write_text(json.dumps({"seed": 1, "count": 2, "height": 48, "width": 64}))
    flags = ["--root", str(tmp_path), "--out", str(tmp_path / "run"), "--clips.source", "rooms"]
    assert cli(["monodepth", "--supervision", "video", *flags]) == 2
    assert "expected a recording of 3 frames or more" in capsys.readouterr().err
    assert cli(["monodepth", "--supervision", "stereo", *flags]) == 2
    assert "expected stereo pairs" in capsys.readouterr().err
