"""Optical flow as pre-training, on textures whose motion is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

from fastseg.checkpoint import load
from fastseg.data.augment import IMAGENET, NOTHING, UNIT
from fastseg.data.batches import Scene
from fastseg.data.unlabelled import ClipImages
from fastseg.inference import restored
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.flow_loss import flow_loss, flow_smoothness, photometric, shrunk
from fastseg.methods.monodepth import ClipConfig, Monodepth
from fastseg.methods.pretext import FlowConfig
from fastseg.nets import build_network, flows
from fastseg.nets.flow import FlowNet, grown_flow
from fastseg.reference import photometric as reference
from fastseg.train import cli, fit
from tests.squares import Squares, run_of

pytestmark = pytest.mark.torch
LOOP = LoopConfig(device="cpu", workers=0, threads=1, save_every=1000, log_every=1)
TINY = "skip/mobilenetv3_small_050"
OPTIM = OptimConfig(lr=2e-3, optimizer="adamw", weight_decay=0.0)
PLAIN = FlowConfig(smoothness=0.0)


class Sliding:
    """A texture in front of a camera that slides: pixel (u, v) of the target is at (u + right, v + down) later on."""

    def __init__(self, count: int = 4, right: int = 3, down: int = -2, sources: int = 1) -> None:
        self.count, self.right, self.down, self.sources = count, right, down, sources

    def ids(self) -> list[str]:
        return [f"texture/{index}" for index in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def clip(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], None, None]:
        random = torch.Generator().manual_seed(index)
        rough = torch.rand(1, 3, 20, 28, generator=random) * 255
        whole = functional.interpolate(rough, (80, 112), mode="bicubic", align_corners=False).clamp(0, 255)
        picture = whole[0].permute(1, 2, 0).numpy().astype(np.uint8)
        shown = [
            picture[8 - k * self.down : 72 - k * self.down, 8 - k * self.right : 104 - k * self.right]
            for k in range(self.sources + 1)
        ]
        return shown[0], np.stack(shown[1:]), None, None


class Unmoved(Squares):
    """Single pictures of one class."""

    class_names = ("depth",)  # type: ignore[assignment]


def _method(out: Path, **changed: object) -> Monodepth:
    fixed = {"root": "nowhere", "out": out, "objective": "flow", "network": TINY, "size": "64x96", "batch": 4}
    fixed |= {"steps": 3, "optim": OPTIM, "loop": LOOP, "augment": NOTHING}
    return Monodepth(**{**fixed, **changed})  # type: ignore[arg-type]


def _pair(set_: Sliding, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    target, sources, _, _ = set_.clip(index)
    first, second = (torch.from_numpy(each.copy()).permute(2, 0, 1)[None] / 255 for each in (target, sources[0]))
    return first, second


def _scene(set_: Sliding, index: int = 0) -> tuple[Scene, torch.Tensor]:
    target, sources, _, _ = set_.clip(index)
    images = torch.from_numpy(target.copy()).permute(2, 0, 1)[None]
    frames = torch.from_numpy(sources.copy()).permute(0, 3, 1, 2)[None]
    return Scene(images, sources=frames), torch.zeros(1, 64, 96, dtype=torch.uint8)


def test_a_network_learns_how_textures_slide_and_its_encoder_goes_into_segment(tmp_path: Path) -> None:
    method, textures = _method(tmp_path / "flow", steps=45, batch=2), Sliding(2)
    assert fit(method, ClipImages(textures)) == 0
    found = load(method.out)
    assert found.record.network == f"flow/{TINY}" and found.record.normalisation == IMAGENET
    net = restored(found)
    assert isinstance(net, FlowNet)
    truth = torch.tensor([3.0, -2.0]).reshape(2, 1, 1)
    for index in range(2):
        with torch.no_grad():
            factor, flow = flows(net.train(), *_pair(textures, index))[0]
        error = (flow - truth).norm(dim=1)[:, 4:-4, 4:-4]
        assert factor == 1 and float(error.mean()) < 0.5  # pixels
    segment = run_of(tmp_path / "segment", network=TINY, steps=1, init_from=str(method.out))
    assert fit(segment, Squares()) == 0
    moved = json.loads((segment.out / "transfer.json").read_text())
    wanted = {name for name in build_network(TINY, 3).state_dict() if name.startswith("encoder.")}
    assert set(moved["matched"]) == wanted and not moved["reshaped"]


@pytest.mark.parametrize("name", ["skip/resnet18", "deeplabv3/resnet18", "segnet/vgg11_bn", "dpt/vit_tiny_patch16_224"])
def test_every_encoder_key_of_a_flow_network_goes_back(name: str) -> None:
    from fastseg.transfer import transfer
    from fastseg.weights import Source

    net, segment = build_network(f"flow/{name}", 1), build_network(name, 5, seed=3)
    report = transfer(Source("flow", net.state_dict(), None), segment, "encoder")
    wanted = {key for key in segment.state_dict() if key.startswith("encoder.")}
    assert set(report.matched) == wanted and not report.reshaped
    assert {key.partition(".")[0] for key in report.dropped} == {"flow", "mean", "std"}


@pytest.mark.parametrize("name", [TINY, "segnet/vgg11_bn", "dpt/vit_tiny_patch16_224", "hypercolumn/vgg11_bn"])
def test_flows_of_every_scale_cover_frames_of_any_size(name: str) -> None:
    net = build_network(f"flow/{name}", 1)
    assert isinstance(net, FlowNet)
    found = flows(net, torch.rand(2, 3, 45, 61), torch.rand(2, 3, 45, 61))
    assert found[0][0] == 1 and [factor for factor, _ in found] == sorted({factor for factor, _ in found})
    for factor, flow in found:
        assert flow.shape == (2, 2, -(-45 // factor), -(-61 // factor)) and float(flow.detach().abs().max()) < 1
    torch.autograd.backward(sum(flow.square().mean() for _, flow in found))  # type: ignore[arg-type]
    assert all(parameter.grad is not None for parameter in net.flow.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in net.encoder.parameters())


def test_half_precision_gives_flows_in_float32_with_finite_gradients() -> None:
    scene, labels = _scene(Sliding())
    net = build_network(f"flow/{TINY}", 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = flow_loss(net, scene, labels, FlowConfig())
    torch.autograd.backward(loss)
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert loss.dtype == torch.float32 and gradients and all(bool(each.isfinite().all()) for each in gradients)


def test_the_weights_are_the_papers() -> None:
    found = FlowConfig()
    assert (found.colour, found.structure, found.smoothness, found.ssim) == (0.15, 0.15, 5.0, "box3")


def test_the_error_is_the_papers_two_terms() -> None:
    first, second = _pair(Sliding(), 1)
    settings = FlowConfig(colour=0.3, structure=0.07)
    flow = torch.randn(1, 2, 64, 96, generator=torch.Generator().manual_seed(1))
    found = photometric(first, second, flow, settings)
    warped, _ = reference.sample(second, *reference.flow_positions(flow))
    wanted = 0.3 * (first - warped).abs().mean(1) + 0.07 * (1 - reference.ssim(first, warped)).mean(1)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)  # float32 sums in another order


def test_the_true_flow_explains_a_clip_better_than_any_other() -> None:
    first, second = _pair(Sliding(), 2)

    def error(right: float, down: float) -> float:
        flow = torch.tensor([right, down], dtype=torch.float32).reshape(1, 2, 1, 1).expand(1, 2, 64, 96)
        return float(photometric(first, second, flow, PLAIN)[:, 4:-4, 4:-4].mean())

    assert error(3, -2) < 1e-6 and min(error(3, -1), error(2, -2), error(0, 0), error(-3, 2)) > 0.02


def test_a_smooth_flow_costs_its_slope_less_where_the_image_has_edges() -> None:
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0] = torch.arange(8.0) * 0.5
    grey, steps = torch.zeros(1, 3, 4, 8), torch.arange(8.0).expand(1, 3, 4, 8)
    assert float(flow_smoothness(flow, grey)) == pytest.approx(0.5)
    assert float(flow_smoothness(flow, steps)) == pytest.approx(0.5 * np.exp(-1), rel=1e-6)
    assert float(flow_smoothness(flow[..., :1, :1], grey[..., :1, :1])) == 0


def test_only_labelled_pixels_count() -> None:
    scene, labels = _scene(Sliding(sources=2))
    net = build_network(f"flow/{TINY}", 1)
    labels[:] = 255
    loss = flow_loss(net, scene, labels, PLAIN)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0
    assert not any(each.grad is not None and each.grad.any() for each in net.parameters())


def test_frames_are_normalised_as_the_weights_that_were_started_from_expect(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = build_network(TINY, 3, seed=5).state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"mean": list(UNIT.mean), "std": list(UNIT.std)}))
    plain, begun = (_method(tmp_path, init_from=name).build(1).net for name in ("", str(tmp_path)))
    assert torch.equal(begun.mean, torch.zeros(3, 1, 1)) and torch.equal(begun.std, torch.ones(3, 1, 1))
    assert plain.mean.flatten().tolist() == pytest.approx(IMAGENET.mean)
    assert torch.equal(begun.state_dict()["encoder.model.conv_stem.weight"], weights["encoder.model.conv_stem.weight"])


def test_a_flow_grows_with_its_pixels() -> None:
    found = grown_flow(torch.ones(1, 2, 4, 4), (8, 16))
    assert found.shape == (1, 2, 8, 16) and bool((found[:, 0] == 4).all()) and bool((found[:, 1] == 2).all())
    assert shrunk(torch.arange(6.0).reshape(1, 1, 1, 6), 4).flatten().tolist() == [1.5, 4.75]


def test_a_run_stopped_and_resumed_is_the_same_to_the_bit(tmp_path: Path) -> None:
    fixed = {"size": "32x64", "batch": 1, "optim": replace(OPTIM, schedule="constant")}
    whole, parts = (_method(tmp_path / name, **fixed) for name in ("whole", "parts"))
    clips = ClipImages(Sliding(sources=2))
    assert fit(whole, clips) == 0
    assert fit(replace(parts, steps=2), clips) == 0
    assert fit(replace(parts, resume=True), clips) == 0
    one, two = (load(tmp_path / name).weights for name in ("whole", "parts"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_pictures_in_a_folder_need_no_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (tmp_path / "film").mkdir()
    target, sources, _, _ = Sliding(sources=4, right=1, down=1).clip(0)
    for number, picture in enumerate([target, *sources]):
        Image.fromarray(picture).save(tmp_path / "film" / f"{number:03d}.png")
    flags = ["monodepth", "--objective", "flow", "--root", str(tmp_path / "film"), "--network", TINY, "--batch", "2"]
    flags += ["--size", "32x64", "--steps", "2", "--loop.device", "cpu", "--loop.workers", "0", "--loop.threads", "1"]
    assert cli([*flags, "--out", str(tmp_path / "run"), "--flow.smoothness", "2"]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["flow"]["smoothness"] == 2
    assert len(_method(tmp_path, root=str(tmp_path / "film"), clips=ClipConfig(offsets=(-1, 2))).examples()) == 2
    assert cli([*flags, "--out", str(tmp_path / "depth"), "--objective", "depth"]) == 2
    assert "the camera is not known" in capsys.readouterr().err


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    for supervision in ("sensor", "stereo"):
        with pytest.raises(ValueError, match=f"objective flow learns from the pictures of video.*not {supervision}"):
            _method(tmp_path, supervision=supervision)
    with pytest.raises(ValueError, match="clips are asked for"):
        fit(_method(tmp_path / "a", batch=2), Unmoved(value=0))
    with pytest.raises(ValueError, match=r"flow\.colour must not be negative; got -1"):
        FlowConfig(colour=-1)
    with pytest.raises(ValueError, match="nothing would be compared"):
        FlowConfig(colour=0, structure=0)
    with pytest.raises(ValueError, match="a network of flow has one kind of output; got 3"):
        build_network(f"flow/{TINY}", 3)
