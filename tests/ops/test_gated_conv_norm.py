from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from fastseg.ops import gated_conv_norm  # noqa: E402
from fastseg.ops.gated_conv_norm import gated_norm_conv2d  # noqa: E402

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[2]
DILATIONS = (16, 8, 4, 2, 1)
Leaves = tuple[Tensor, ...]


def _dense(x: Tensor, weight: Tensor, gate: Tensor, gamma: Tensor, beta: Tensor, given: Leaves | None) -> Tensor:
    """Five convolutions, five batch-norms, five ReLUs, all kept, and the gated sum: what autograd differentiates."""
    terms = []
    for k, dilation in enumerate(DILATIONS):
        u = functional.conv2d(x, weight[k % len(weight)], padding=dilation, dilation=dilation)
        mean, variance = (None, None) if given is None else (given[0][k], given[1][k])
        u = functional.batch_norm(u, mean, variance, gamma[k], beta[k], given is None, 0.0, 1e-5)
        terms.append(gate[:, k, None] * u.relu())
    return torch.stack(terms).sum(0)


def _leaves(dtype: Any, tied: bool, n: int = 2, height: int = 13, width: int = 9, seed: int = 0) -> Leaves:
    made = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=made, dtype=dtype)

    gate = drawn(n, 5, height, width).softmax(1)
    weight = drawn(1 if tied else 5, 6, 7, 3, 3)
    leaves = drawn(n, 7, height, width), weight, gate, drawn(5, 6), drawn(5, 6)
    return tuple(each.requires_grad_() for each in leaves)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_a_branch_at_a_time_is_the_dense_five_with_all_gradients(dtype: Any, tied: bool, batch: bool) -> None:
    leaves = _leaves(dtype, tied)
    made = torch.Generator().manual_seed(1)
    given = None if batch else (torch.randn(5, 6, generator=made).to(dtype), torch.rand(5, 6, generator=made).to(dtype))
    x, weight, gate, gamma, beta = leaves
    found, mean, variance = gated_norm_conv2d(x, weight, gate, DILATIONS, gamma, beta, given, 1e-5)
    expected = _dense(*leaves, given)
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 2e-5}
    torch.testing.assert_close(found, expected, **tolerance)
    dy = torch.randn(found.shape, generator=made, dtype=torch.float32).to(dtype)
    pairs = zip(*(torch.autograd.grad(y, leaves, dy) for y in (found, expected)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours / theirs.abs().max(), theirs / theirs.abs().max(), **tolerance)
    if batch:
        u = functional.conv2d(x, weight[0], padding=16, dilation=16)
        torch.testing.assert_close(mean[0], u.mean((0, 2, 3)), **tolerance)
        torch.testing.assert_close(variance[0], u.var((0, 2, 3), correction=0), **tolerance)


def test_few_values_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = _leaves(torch.float64, tied=False)
    x, weight, gate, gamma, beta = leaves

    def gradients() -> Leaves:
        y = gated_norm_conv2d(x, weight, gate, DILATIONS, gamma, beta, None, 1e-5)[0]
        return torch.autograd.grad(y.square().sum(), leaves)

    whole = gradients()
    monkeypatch.setattr(gated_conv_norm, "AT_ONCE", {"cpu": 40})
    monkeypatch.setattr(gated_conv_norm, "CHANNELS", {"cpu": 4})
    for ours, theirs in zip(gradients(), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_torch_knows_its_shapes_and_its_gradient() -> None:
    leaves = _leaves(torch.float64, tied=False, n=1, height=4, width=3)
    x, weight, gate, gamma, beta = leaves
    arguments = (x, weight, gate, list(DILATIONS), gamma, beta, [], 1e-5, False)
    torch.library.opcheck(torch.ops.fastseg.gated_norm_conv2d.default, arguments)
    compiled = torch.compile(lambda *a: gated_norm_conv2d(*a, None, 1e-5)[0], fullgraph=True, backend="aot_eager")
    expected = gated_norm_conv2d(x, weight, gate, DILATIONS, gamma, beta, None, 1e-5)[0]
    torch.testing.assert_close(compiled(x, weight, gate, DILATIONS, gamma, beta), expected)


def test_autocast_keeps_statistics_and_sums_in_float32() -> None:
    x, weight, gate, gamma, beta = leaves = _leaves(torch.float32, tied=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, mean, _ = gated_norm_conv2d(x, weight, gate, DILATIONS, gamma, beta, None, 1e-5)
    assert (y.dtype, mean.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y.float(), _dense(*leaves, None), rtol=0.05, atol=0.1)
    assert all(each.isfinite().all() for each in torch.autograd.grad(y.float().sum(), leaves))


def test_one_value_a_channel_has_no_variance() -> None:
    x, weight, gate, gamma, beta = _leaves(torch.float32, tied=False, n=1, height=1, width=1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        gated_norm_conv2d(x, weight, gate, DILATIONS, gamma, beta, None, 1e-5)


SHARED = """
import sys, torch
import torch.distributed as dist
from fastseg.ops.gated_conv_norm import gated_norm_conv2d
meet, whole, rank = sys.argv[1], torch.load(sys.argv[2], weights_only=True), int(sys.argv[3])
dist.init_process_group("gloo", init_method="file://" + meet, rank=rank, world_size=2)
x, weight, gate, gamma, beta = (each.requires_grad_() for each in whole)
part = slice(rank, rank + 1)
y, mean, variance = gated_norm_conv2d(x[part], weight, gate[part], (16, 8, 4, 2, 1), gamma, beta, None, 1e-5, True)
found = torch.autograd.grad(y.square().sum(), (x, weight, gate, gamma, beta))
for each in found:
    dist.all_reduce(each)
torch.save([y.detach(), mean, variance, *found], f"{sys.argv[2]}.{rank}")
"""


@pytest.mark.slow
def test_two_processes_share_their_statistics(tmp_path: Path) -> None:
    leaves = _leaves(torch.float64, tied=False)
    x, weight, gate, gamma, beta = leaves
    torch.save([each.detach() for each in leaves], tmp_path / "whole")
    command = [sys.executable, "-c", SHARED, str(tmp_path / "meet"), str(tmp_path / "whole")]
    ranks = [subprocess.Popen([*command, str(rank)], cwd=ROOT) for rank in range(2)]
    assert [rank.wait(200) for rank in ranks] == [0, 0]
    y, mean, variance = gated_norm_conv2d(x, weight, gate, DILATIONS, gamma, beta, None, 1e-5)
    expected = [mean, variance, *torch.autograd.grad(y.square().sum(), leaves)]
    for rank in range(2):
        own, *found = torch.load(tmp_path / f"whole.{rank}", weights_only=True)
        torch.testing.assert_close(own, y.detach()[rank : rank + 1])
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
