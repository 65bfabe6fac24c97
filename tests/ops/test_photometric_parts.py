"""The parts of `photometric` on their own: warps, flow, SSIM; how they live in torch; what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastseg.ops.photometric import WINDOWS, photometric_flow_loss, photometric_loss, ssim, warp, warp_flow
from fastseg.reference import photometric as reference

KINDS = tuple(WINDOWS)
SIZES = [(1, 1), (1, 5), (6, 1), (31, 33), (33, 65)]


def random(seed: int, *shape: int, low: float = 0, high: float = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, shape))


def camera(height: int, width: int, n: int = 1) -> Tensor:
    return torch.tensor([[0.9 * width, 0.95 * width, 0.48 * width, 0.52 * height]] * n, dtype=torch.float64)


def turned(seed: int, *batch: int) -> Tensor:
    poses = torch.eye(4, dtype=torch.float64).repeat(*batch, 1, 1)
    poses[..., :3, :] += random(seed, *batch, 3, 4, low=-0.05, high=0.05)
    return poses


def same_gradients(found: Tensor, wanted: Tensor, ours: list[Tensor], exact: list[Tensor]) -> None:
    weight = random(99, *found.shape)
    got = torch.autograd.grad((found * weight.to(found)).sum(), ours)
    right = torch.autograd.grad((wanted * weight).sum(), exact)
    for a, b in zip(got, right, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-7, atol=1e-9 * (1 + float(b.abs().max())))


def leaves(place: str, *tensors: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Copies on the device under test and copies for the reference, all asking for gradients."""
    ours = [tensor.to(place, copy=True).requires_grad_() for tensor in tensors]
    return ours, [tensor.clone().requires_grad_() for tensor in tensors]


@pytest.fixture
def place(device: str) -> str:
    """Where torch tensors go: the emulated kernels read the host's memory."""
    return "cuda" if device == "cuda" else "cpu"


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_warp_agrees_with_the_reference(place: str, size: tuple[int, int], align_corners: bool, padding: Any) -> None:
    if not align_corners and 1 in size:
        pytest.skip("refused")
    depth, cameras = random(2, 2, *size, low=1, high=3), camera(*size, n=2)
    ours, exact = leaves(place, random(1, 2, 3, *size), depth, cameras, turned(3, 2))
    how: dict[str, Any] = {"padding": padding, "align_corners": align_corners}
    warped, valid = warp(*ours, **how)
    wanted, seen = reference.sample(exact[0], *reference.positions(*exact[1:]), padding, align_corners)
    assert torch.equal(valid.cpu().bool(), seen)
    torch.testing.assert_close(warped.cpu(), wanted, rtol=1e-9, atol=1e-11)  # double, other products
    same_gradients(warped, wanted, ours, exact)


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("size", SIZES)
def test_a_warp_by_flow_agrees_with_the_reference(place: str, size: tuple[int, int], padding: Any) -> None:
    flow = random(2, 2, 2, *size, low=-3, high=3)
    flow[0, :, 0, 0] = torch.nan
    ours, exact = leaves(place, random(1, 2, 3, *size), flow)
    warped, valid = warp_flow(*ours, padding=padding)
    wanted, seen = reference.sample(exact[0], *reference.flow_positions(exact[1]), padding)
    assert torch.equal(valid.cpu().bool(), seen) and not valid[0, 0, 0]
    torch.testing.assert_close(warped.cpu(), wanted, rtol=1e-9, atol=1e-11)
    same_gradients(warped, wanted, ours, exact)


@pytest.mark.parametrize("reduce", ["min", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_flow_agrees_with_the_reference(place: str, kind: Any, reduce: Any) -> None:
    ours, exact = leaves(place, random(1, 1, 2, 3, 21, 18), random(2, 1, 2, 2, 21, 18, low=-2, high=2))
    target = random(3, 1, 3, 21, 18)
    how: dict[str, Any] = {"reduce": reduce, "padding": "zeros", "automask": True}
    loss, choice, valid = photometric_flow_loss(target.to(place), *ours, ssim=kind, **how)
    places = [reference.flow_positions(exact[1][:, s]) for s in range(2)]
    wanted = reference.loss(target, exact[0], places, kind=kind, **how)
    assert torch.equal(choice.cpu(), wanted[1]) and torch.equal(valid.cpu().bool(), wanted[2])
    torch.testing.assert_close(loss.cpu(), wanted[0], rtol=1e-9, atol=1e-11)
    same_gradients(loss, wanted[0], ours, exact)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(2, 2), (6, 7), (31, 33), (33, 65)])
def test_ssim_agrees_with_the_reference(place: str, size: tuple[int, int], kind: Any) -> None:
    if min(size) <= WINDOWS[kind]:
        pytest.skip("too small to be mirrored")
    ours, exact = leaves(place, random(1, 2, 3, *size), random(2, 2, 3, *size))
    found, wanted = ssim(*ours, kind), reference.ssim(*exact, kind)
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-9, atol=1e-11)
    same_gradients(found, wanted, ours, exact)


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), size=st.tuples(st.integers(6, 33), st.integers(6, 33)))
def test_ssim_of_an_image_with_itself_is_one(seed: int, kind: Any, size: tuple[int, int]) -> None:
    image = random(seed, 1, 2, *size).to(torch.float32).numpy()
    np.testing.assert_allclose(ssim(image, image, kind), 1, rtol=0, atol=1e-6)  # a few roundings of float32


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(1, 33), st.integers(1, 33)))
def test_the_identity_pose_warps_nothing(seed: int, size: tuple[int, int]) -> None:
    image, depth = random(seed, 1, 2, *size).to(torch.float32), random(seed, 1, *size, low=0.1, high=90)
    eye = torch.eye(4).numpy()[None]
    for padding in ("border", "zeros"):
        seen, valid = warp(image.numpy(), depth.float().numpy(), camera(*size).float().numpy(), eye, padding=padding)
        np.testing.assert_array_equal(seen, image)
        assert valid.all()


def test_a_flow_of_whole_pixels_shifts_the_image(place: str) -> None:
    image, flow = random(1, 1, 1, 9, 11).to(place), torch.zeros(1, 2, 9, 11, dtype=torch.float64, device=place)
    flow[:, 0], flow[:, 1] = 2, -1
    warped, valid = warp_flow(image, flow, padding="zeros")
    assert torch.equal(warped[:, :, 1:, :-2], image[:, :, :-1, 2:])
    assert not valid[:, 0].any() and not valid[:, :, -2:].any() and valid[:, 1:, :-2].all()


def small(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    tensors = {
        "target": random(1, 2, 3, 9, 8), "sources": random(2, 2, 2, 3, 9, 8),
        "depth": random(3, 2, 9, 8, low=1, high=2), "intrinsics": camera(9, 8, n=2), "poses": turned(4, 2, 2),
    }  # fmt: skip
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


@pytest.mark.torch
@pytest.mark.parametrize("function", ["loss", "flow", "warp", "ssim"])
def test_torch_finds_the_operators_in_order(function: str) -> None:
    from fastseg.ops import photometric_torch as operators

    s = small(torch.float64)
    flow = random(5, 2, 2, 2, 9, 8).requires_grad_()
    target, sources = s["target"], s["sources"].requires_grad_()
    place = (*(s[name].requires_grad_() for name in ("depth", "intrinsics", "poses")), None, 0, True)
    calls: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "loss": (operators.loss, (target, sources, *place, 0, 0.85, 0, True)),
        "flow": (operators.loss, (target, sources, None, None, None, flow, 1, False, 0, 0.85, 1, False)),
        "warp": (operators.warp, (sources, *place)),
        "ssim": (operators.ssim, (target, random(7, 2, 3, 9, 8).requires_grad_(), 0)),
    }
    torch.library.opcheck(*calls[function])


@pytest.mark.torch
def test_the_whole_loss_compiles_into_one_graph() -> None:
    s = small()
    leaves = {name: s[name].requires_grad_() for name in ("depth", "intrinsics", "poses", "sources")}

    def step(**tensors: Tensor) -> Tensor:
        loss, _, valid = photometric_loss(**tensors, automask=True)
        return (loss * 2).sum() + valid.sum() + ssim(tensors["target"], tensors["sources"][:, 0].contiguous()).sum()

    eager = step(**s)
    wanted = torch.autograd.grad(eager, list(leaves.values()))
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")(**s)
    torch.testing.assert_close(compiled, eager, rtol=1e-6, atol=0)  # the sums outside may be ordered otherwise
    for a, b in zip(torch.autograd.grad(compiled, list(leaves.values())), wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.torch
def test_autocast_computes_in_float32() -> None:
    s = small(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _, _ = photometric_loss(**s)
    wanted, _, _ = photometric_loss(**{name: tensor.float() for name, tensor in s.items()})
    assert loss.dtype == torch.float32 and torch.equal(loss, wanted)
    with pytest.raises(TypeError, match="target must be float32 or float64"):
        photometric_loss(**s)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"target": torch.zeros(2, 3, 9, 8, dtype=torch.float64)}, TypeError, "sources must be float64"),
        ({"target": torch.zeros(2, 3, 8, 9).mT}, ValueError, "target must be .* not contiguous"),
        ({"sources": torch.zeros(2, 0, 3, 9, 8)}, ValueError, "1 to 4 frames"),
        ({"sources": torch.zeros(2, 5, 3, 9, 8)}, ValueError, "1 to 4 frames"),
        ({"sources": torch.zeros(2, 1, 4, 9, 8)}, ValueError, "sources must be .*C=3"),
        ({"depth": torch.zeros(2, 1, 9, 8)}, ValueError, "depth must be .*H=9, W=8"),
        ({"intrinsics": torch.zeros(2, 3, 3)}, ValueError, "intrinsics must be .*N=2, 4"),
        ({"poses": torch.zeros(2, 2, 3, 4)}, ValueError, "poses must be .*S=2, 4, 4"),
        ({"poses": np.zeros((2, 2, 4, 4), np.float32)}, ValueError, "poses must be a torch cpu array"),
        ({"target": torch.ones(2, 3, 9, 8, requires_grad=True)}, ValueError, "target takes no gradient"),
        ({"ssim": "box5"}, ValueError, "ssim must be one of box3, box7, gauss11"),
        ({"padding": "reflect"}, ValueError, "padding must be one of border, zeros"),
        ({"reduce": "max"}, ValueError, "reduce must be one of min, mean"),
        ({"alpha": 1.5}, ValueError, "alpha must lie between 0 and 1"),
    ],
)
def test_unsupported_arguments_are_refused(change: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        photometric_loss(**{**small(), **change})


@pytest.mark.parametrize(("kind", "size"), [("box3", (1, 1)), ("box3", (1, 9)), ("box7", (3, 9)), ("gauss11", (9, 5))])
def test_images_smaller_than_half_a_window_are_refused(kind: Any, size: tuple[int, int]) -> None:
    image = np.zeros((1, 1, *size), np.float32)
    with pytest.raises(ValueError, match="cannot be mirrored"):
        ssim(image, image, kind)


def test_one_pixel_has_no_grid_without_aligned_corners() -> None:
    with pytest.raises(ValueError, match="at least 2 by 2"):
        warp_flow(np.zeros((1, 1, 1, 5), np.float32), np.zeros((1, 2, 1, 5), np.float32), align_corners=False)
