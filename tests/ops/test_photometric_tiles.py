"""What the GPU's tiles could get wrong: seams, odd channel counts, the order in which source gradients add up."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastseg.ops.photometric import photometric_flow_loss
from fastseg.reference import photometric as reference

# As high and wide as a tile's own pixels (30 x 62, 26 x 58, 22 x 54 with each window), a pixel more, and several.
SHAPES = [
    ("box3", 1, 4, 30, 62),
    ("box3", 2, 1, 31, 63),
    ("box3", 1, 3, 33, 130),
    ("box3", 4, 2, 62, 9),
    ("box7", 1, 5, 26, 58),
    ("box7", 2, 3, 27, 59),
    ("gauss11", 1, 1, 22, 54),
    ("gauss11", 1, 4, 23, 55),
]


@pytest.fixture
def place(device: str) -> str:
    """Where torch tensors go: the emulated kernels read the host's memory."""
    return "cuda" if device == "cuda" else "cpu"


def images(seed: int, frames: int, sources: int, channels: int, height: int, width: int) -> list[Tensor]:
    """Target, sources and flow."""
    rng = np.random.default_rng(seed)
    shapes = (frames, channels, height, width), (frames, sources, channels, height, width)
    flow = rng.uniform(-4, 4, (frames, sources, 2, height, width))
    return [torch.from_numpy(array) for array in (*(rng.random(shape) for shape in shapes), flow)]


def gradients(
    target: Tensor, sources: Tensor, flow: Tensor, weight: Tensor | None = None, **how: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and the gradients of the sources and of the flow."""
    sources, flow = sources.clone().requires_grad_(), flow.clone().requires_grad_()
    loss = photometric_flow_loss(target, sources, flow, **how)[0]
    dsources, dflow = torch.autograd.grad(loss, [sources, flow], torch.ones_like(loss) if weight is None else weight)
    return loss.detach(), dsources, dflow


@pytest.mark.parametrize(("kind", "count", "channels", "height", "width"), SHAPES)
def test_tiles_meet_without_a_seam(place: str, kind: Any, count: int, channels: int, height: int, width: int) -> None:
    target, sources, flow = images(1, 1, count, channels, height, width)
    exact = [sources.clone().requires_grad_(), flow.clone().requires_grad_()]
    places = [reference.flow_positions(exact[1][:, s]) for s in range(count)]
    loss = reference.loss(target, exact[0], places, kind=kind, automask=count > 1)[0]
    wanted = loss.detach(), *torch.autograd.grad(loss.sum(), exact)
    moved = (tensor.to(place) for tensor in (target, sources, flow))
    for found, right in zip(gradients(*moved, ssim=kind, automask=count > 1), wanted, strict=True):
        torch.testing.assert_close(found.cpu(), right, rtol=1e-7, atol=1e-9)  # double, another order of sums


def test_source_gradients_are_the_same_bits_in_every_schedule(device: str) -> None:
    if device != "emu":
        pytest.skip("only the emulator's schedules can be chosen")
    inputs = [tensor.float() for tensor in images(2, 2, 2, 3, 37, 71)]
    found = []
    for schedule in ("forward", "reverse", "random"):
        importlib.import_module("fastseg._emu").set_schedule(schedule, seed=11)
        found.append(gradients(*inputs))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_source_gradients_keep_their_digits_at_any_size(place: str, scale: float) -> None:
    inputs = [tensor.float().to(place) for tensor in images(3, 2, 1, 3, 12, 17)]
    plain = gradients(*inputs)[1]
    scaled = gradients(*inputs, weight=torch.full((2, 12, 17), scale, device=place))[1]
    torch.testing.assert_close(scaled / scale, plain, rtol=2e-6, atol=2e-6)  # float32: the scale itself is rounded


def test_a_gradient_that_is_not_finite_stays_in_its_frame(device: str, place: str) -> None:
    inputs = [tensor.float().to(place) for tensor in images(4, 2, 1, 3, 12, 17)]
    weight = torch.ones(2, 12, 17, device=place)
    plain = gradients(*inputs, weight=weight)[1]
    weight[0, 5, 5] = torch.nan
    found = gradients(*inputs, weight=weight)[1]
    assert torch.equal(found[1], plain[1]) and found[0].isnan().any()
    assert device == "cpu" or found[0].isnan().all()
