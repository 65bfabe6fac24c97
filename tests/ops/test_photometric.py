"""The photometric loss against its reference and by its properties, on every device there is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastseg.ops.photometric import WINDOWS, photometric_loss
from fastseg.reference import photometric as reference

KINDS = tuple(WINDOWS)


class Scene(NamedTuple):
    target: Tensor
    sources: Tensor
    depth: Tensor
    intrinsics: Tensor
    poses: Tensor

    def to(self, where: Any) -> Scene:
        return Scene(*(tensor.to(where) for tensor in self))

    def leaves(self) -> Scene:
        """Copies of which all but the target ask for gradients."""
        target, *rest = (tensor.clone() for tensor in self)
        return Scene(target, *(each.requires_grad_() for each in rest))


def scene(
    seed: int, n: int, s: int, c: int, height: int, width: int, motion: float = 0.3, missing: float = 0.05
) -> Scene:
    """Random images, depth of 1 to 4 m with every kind of missing pixel, cameras some decimetres apart; float64."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 4, (n, height, width))
    for value in (0.0, -1.0, np.nan, np.inf):
        depth[rng.random(depth.shape) < missing / 4] = value
    intrinsics = np.tile([0.9 * width, 0.95 * width, 0.48 * width, 0.52 * height], (n, 1))
    poses = np.tile(np.eye(4), (n, s, 1, 1))
    poses[..., :3, :3] += rng.normal(0, 0.02, (n, s, 3, 3))
    poses[..., :3, 3] += rng.normal(0, motion, (n, s, 3))
    images = rng.random((n, c, height, width)), rng.random((n, s, c, height, width))
    return Scene(*(torch.from_numpy(array) for array in (*images, depth, intrinsics, poses)))


def expected(of: Scene, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    sources = range(of.poses.shape[1])
    places = [reference.positions(of.depth, of.intrinsics, of.poses[:, s]) for s in sources]
    return reference.loss(of.target, of.sources, places, kind=options.pop("ssim", "box3"), **options)


def gradients(loss: Tensor, weight: Tensor, of: Scene) -> list[Tensor]:
    """d sources, d depth, d intrinsics, d poses of sum(weight loss)."""
    found = torch.autograd.grad((loss * weight.to(loss)).sum(), list(of[1:]))
    return [gradient.cpu() for gradient in found]


@pytest.fixture
def place(device: str) -> str:
    """Where torch tensors go: the emulated kernels read the host's memory."""
    return "cuda" if device == "cuda" else "cpu"


OPTIONS: list[dict[str, Any]] = [
    {},
    {"padding": "zeros", "automask": True},
    {"align_corners": False, "alpha": 0.3, "reduce": "mean"},
    {"reduce": "mean", "padding": "zeros", "automask": True, "align_corners": False},
]
SIZES = [(2, 2), (7, 6), (31, 33), (33, 65)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_loss_and_gradients_agree_with_the_reference(
    place: str, size: tuple[int, int], kind: str, options: dict[str, Any]
) -> None:
    if min(size) <= WINDOWS[kind]:
        pytest.skip("too small to be mirrored")
    exact = scene(1, 2, 3, 3, *size).leaves()
    ours = Scene(*(tensor.detach() for tensor in exact)).to(place).leaves()
    loss, choice, valid = photometric_loss(*ours, ssim=kind, **options)
    wanted = expected(exact, ssim=kind, **options)
    assert torch.equal(choice.cpu(), wanted[1]) and torch.equal(valid.cpu().bool(), wanted[2])
    torch.testing.assert_close(loss.cpu(), wanted[0], rtol=1e-9, atol=1e-11)  # double, another order of sums
    weight = torch.rand(loss.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for found, right in zip(gradients(loss, weight, ours), gradients(wanted[0], weight, exact), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-9 * (1 + float(right.abs().max())))


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_but_for_pixels_at_a_kink(place: str, kind: str) -> None:
    exact = scene(4, 2, 1, 3, 33, 65).leaves()
    ours = Scene(*(tensor.detach() for tensor in exact)).to(torch.float32).to(place).leaves()
    loss, _, valid = photometric_loss(*ours, ssim=kind)
    wanted, _, right_valid = expected(exact, ssim=kind)
    assert (valid.cpu().bool() == right_valid).all()
    torch.testing.assert_close(loss.cpu().double(), wanted, rtol=0, atol=2e-5)  # positions in float32: 1e-5 pixels
    found, right = gradients(loss, torch.ones_like(wanted), ours), gradients(wanted, torch.ones_like(wanted), exact)
    for a, b in zip(found, right, strict=True):
        # |x| and the sample's slope jump where a position crosses a pixel or two values are equal; in the sums that
        # cameras get, one such pixel moves every number of its frame
        limit, share = (1e-2, 0.0) if a.shape[-1] == 4 else (1e-3, 0.01)
        assert ((a.double() - b).abs() > limit * b.abs().max()).double().mean() <= share


@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_every_combination_of_options_agrees_with_the_reference(data: st.DataObject) -> None:
    draw = data.draw
    kind = draw(st.sampled_from(KINDS))
    low = WINDOWS[kind] + 1
    height, width = draw(st.integers(low, low + 8)), draw(st.integers(low, low + 8))
    shape = draw(st.integers(0, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 4)), height, width
    options = {
        "ssim": kind,
        "alpha": draw(st.sampled_from([0.0, 0.3, 0.85, 1.0])),
        "padding": draw(st.sampled_from(["border", "zeros"])),
        "align_corners": draw(st.booleans()),
        "reduce": draw(st.sampled_from(["min", "mean"])),
        "automask": draw(st.booleans()),
    }
    missing, motion = draw(st.sampled_from([0.0, 0.2, 1.0])), draw(st.sampled_from([0.0, 0.3, 3.0]))
    exact = scene(draw(st.integers(0, 9999)), *shape, motion=motion, missing=missing).leaves()
    ours = Scene(*(tensor.detach() for tensor in exact)).leaves()
    loss, choice, valid = photometric_loss(*ours, **options)
    if shape[0] == 0:
        return
    wanted = expected(exact, **options)
    assume(torch.equal(choice, wanted[1]))  # errors that are equal to the last bit but one
    assert torch.equal(valid.bool(), wanted[2])
    torch.testing.assert_close(loss, wanted[0], rtol=1e-9, atol=1e-10)
    weight = torch.ones_like(loss)
    for found, right in zip(gradients(loss, weight, ours), gradients(wanted[0], weight, exact), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-8 * (1 + float(right.abs().max())))


@pytest.mark.torch
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_in_double(kind: str) -> None:
    low = WINDOWS[kind] + 1
    target, sources, depth, intrinsics, poses = scene(11, 1, 2, 2, low + 1, low + 2, missing=0)
    inputs = [tensor.clone().requires_grad_() for tensor in (sources, depth, intrinsics, poses)]

    def loss(sources: Tensor, depth: Tensor, intrinsics: Tensor, poses: Tensor) -> Tensor:
        return photometric_loss(target, sources, depth, intrinsics, poses, ssim=kind, reduce="mean")[0]

    assert torch.autograd.gradcheck(loss, inputs, eps=1e-7, atol=1e-4)


def test_unmeasured_depth_is_invalid_and_takes_no_gradient(place: str) -> None:
    s = scene(3, 1, 2, 3, 20, 21, missing=0).to(place)
    for row, value in enumerate((0.0, -1.0, float("nan"), float("inf"))):
        s.depth[0, row] = value
    s = s.leaves()
    loss, choice, valid = photometric_loss(*s)
    assert not valid[:, :, :4].any() and (choice[:, :4] == -1).all() and (loss[:, :4] == 0).all()
    _, ddepth, *cameras = gradients(loss, torch.ones_like(loss), s)
    assert (ddepth[:, :4] == 0).all() and ddepth[:, 4:].abs().sum() > 0
    assert all(each.isfinite().all() for each in cameras)


def test_points_behind_the_source_camera_are_invalid(place: str) -> None:
    s = scene(3, 1, 1, 1, 9, 9, motion=0, missing=0).to(place)
    s.poses[..., 2, 3] = -2.5
    _, choice, valid = photometric_loss(*s)
    far = (s.poses[0, 0, 2, :3] @ torch.stack(_rays(s)).reshape(3, -1).to(s.poses)).reshape(9, 9) * s.depth[0] > 2.501
    assert torch.equal(valid[0, 0].bool(), far) and torch.equal(choice[0] == 0, far)


def _rays(of: Scene) -> list[Tensor]:
    height, width = of.depth.shape[1:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    fx, fy, cx, cy = of.intrinsics[0].cpu()
    return [(u - cx) / fx, (v - cy) / fy, torch.ones(height, width, dtype=torch.float64)]


def test_equal_images_and_no_motion_lose_nothing_and_survive_the_auto_mask(place: str) -> None:
    s = scene(5, 1, 2, 3, 17, 23, motion=0, missing=0).to(torch.float32).to(place)
    s = s._replace(sources=s.target[:, None].repeat(1, 2, 1, 1, 1), poses=torch.eye(4, device=place).repeat(1, 2, 1, 1))
    loss, choice, _ = photometric_loss(*s, automask=True)
    assert loss.abs().max() < 1e-6 and (choice == 0).all()  # unmoved and moved errors are equal; the first source wins


def test_the_auto_mask_drops_pixels_that_fit_better_unmoved(place: str) -> None:
    s = scene(6, 1, 1, 3, 16, 18, missing=0).to(place)
    s = s._replace(sources=s.target[:, None].clone())
    loss, choice, _ = photometric_loss(*s, automask=True)
    assert (choice == -1).all() and (loss == 0).all()


def test_the_mean_of_one_source_is_its_minimum(place: str) -> None:
    s = scene(7, 2, 1, 3, 12, 13).to(place)
    least, mean = (photometric_loss(*s, reduce=reduce) for reduce in ("min", "mean"))
    assert all(torch.equal(a, b) for a, b in zip(least, mean, strict=True))


def test_numpy_gets_numpy_and_the_same_values(
    device: str, put: Callable[[Any], Any], get: Callable[[Any], Any]
) -> None:
    s = scene(8, 2, 2, 3, 33, 31).to(torch.float32)
    arrays = [put(tensor.numpy()) for tensor in s]
    answer = photometric_loss(*arrays, threads=2)
    assert all(type(array) is type(arrays[0]) for array in answer)
    wanted = photometric_loss(*(s.to("cuda") if device == "cuda" else s))
    for found, right in zip(answer, wanted, strict=True):
        np.testing.assert_array_equal(get(found), right.cpu().numpy())


def test_an_empty_batch_is_answered_empty(place: str) -> None:
    s = scene(1, 0, 2, 3, 8, 9).to(place).leaves()
    loss, choice, valid = photometric_loss(*s)
    assert loss.shape == choice.shape == (0, 8, 9) and valid.shape == (0, 2, 8, 9)
    assert all(gradient.numel() == 0 for gradient in gradients(loss, torch.ones_like(loss), s))


def _loss_and_gradients(of: Scene) -> list[Tensor]:
    leaves = of.leaves()
    loss, choice, valid = photometric_loss(*leaves, automask=True)
    return [loss.detach(), choice, valid, *gradients(loss, torch.ones_like(loss), leaves)]


def test_repeats_are_bitwise_equal(device: str, place: str) -> None:
    s = scene(9, 2, 2, 3, 40, 33).to(torch.float32).to(place)
    first = _loss_and_gradients(s)
    for _ in range(20 if device != "emu" else 2):
        assert all(torch.equal(a, b) for a, b in zip(_loss_and_gradients(s), first, strict=True))


@pytest.mark.torch
def test_any_number_of_threads_gives_the_same_bits() -> None:
    s = scene(10, 1, 2, 3, 70, 33).to(torch.float32)
    before = torch.get_num_threads()
    answers = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        answers.append(_loss_and_gradients(s))
    torch.set_num_threads(before)
    for answer in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answer, answers[0], strict=True))


@pytest.mark.torch
def test_eight_threads_at_once_get_their_own_answers() -> None:
    scenes = [scene(seed, 1, 2, 3, 33, 31).to(torch.float32) for seed in range(8)]
    alone = [_loss_and_gradients(s) for s in scenes]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for answer, wanted in zip(pool.map(_loss_and_gradients, scenes), alone, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(answer, wanted, strict=True))
