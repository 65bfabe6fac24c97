from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.gating import DILATIONS, GatedConv, Gating, GatingModule
from fastseg.nets.gating_depth import (
    NYU_EDGES,
    check_edges,
    check_metres,
    default_edges,
    disparity_edges,
    fit_edges,
    gates_of,
    on_grid,
    quantised,
    smoothed,
)

pytestmark = pytest.mark.torch
EDGES = torch.tensor(NYU_EDGES)
WIDTH = 16


class Dense(nn.Module):
    """The five branches as any framework would write them, over the same parameters."""

    def __init__(self, conv: GatedConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        conv, weight = self.conv, self.conv.weight.unflatten(2, (-1, 3, 3))
        terms = [
            gate[:, k, None] * norm(functional.conv2d(x, weight[k % len(weight)], padding=d, dilation=d)).relu()
            for k, (d, norm) in enumerate(zip(conv.dilations, conv.norms, strict=True))
        ]
        return torch.stack(terms).sum(0)


def _module(source: str, tied: bool = False, hard: bool = False) -> GatingModule:
    torch.manual_seed(3)
    module = GatingModule(Gating(source=source, tied=tied, hard=hard, width=WIDTH))  # type: ignore[arg-type]
    for norm in module.conv.norms:
        nn.init.normal_(norm.weight)  # type: ignore[arg-type]
        nn.init.normal_(norm.bias)  # type: ignore[arg-type]
    return module


def _inputs(holes: bool = True) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(5)
    depth = torch.rand(2, 11, 14, generator=made) * 6 + 0.5
    if holes:
        depth[torch.rand(depth.shape, generator=made) < 0.2] = 0
    return torch.randn(2, WIDTH, 11, 14, generator=made), quantised(depth, EDGES)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("source", ["average", "ground_truth", "attention", "predicted", "baseline"])
def test_a_module_of_every_source_is_the_dense_five_branches(source: str, tied: bool) -> None:
    module = _module(source, tied)
    x, bins = _inputs()
    x.requires_grad_()
    leaves = [x, *module.parameters()]
    torch.manual_seed(0)  # dropout
    y, gate, _, _ = module(x, bins, EDGES)
    torch.testing.assert_close(gate.sum(1), torch.ones(2, 11, 14))
    ours = torch.autograd.grad(y.square().sum(), leaves)
    running = [each.clone() for each in module.conv.buffers()]
    _zero_statistics(module.conv)
    dense = Dense(module.conv)
    torch.manual_seed(0)
    gates = gate if module.branch is None else module.branch(x)[0].softmax(1)
    theirs_y = dense(x, gates)
    torch.testing.assert_close(y, theirs_y, rtol=1e-4, atol=1e-5)
    for mine, other in zip(ours, torch.autograd.grad(theirs_y.square().sum(), leaves), strict=True):
        torch.testing.assert_close(mine / other.abs().max(), other / other.abs().max(), rtol=1e-3, atol=2e-5)
    for mine, other in zip(running, module.conv.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


def _zero_statistics(conv: GatedConv) -> None:
    for norm in conv.norms:
        norm.reset_running_stats()  # type: ignore[operator]


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("source", ["average", "ground_truth", "attention", "baseline"])
@pytest.mark.parametrize("holes", [False, True])
def test_folded_batch_norm_is_batch_norm(source: str, hard: bool, holes: bool) -> None:
    module = _module(source, hard=hard and source == "attention")
    x, bins = _inputs(holes)
    for _ in range(3):
        module(x, bins, EDGES)  # statistics other than 0 and 1
    module.eval()
    with torch.no_grad():
        y, gate, _, _ = module(x, bins, EDGES)
        if module.conv.hard:
            gate = gates_of(gate.argmax(1).to(torch.uint8), 5)
        torch.testing.assert_close(y, Dense(module.conv)(x, gate), rtol=1e-4, atol=1e-5)


def test_one_gate_is_the_plain_dilated_convolution() -> None:
    module = _module("ground_truth").eval()
    x = _inputs()[0]
    for k, dilation in enumerate(DILATIONS):
        bins = torch.full((2, 11, 14), k, dtype=torch.uint8)
        conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation, bias=False)
        conv.weight.data = module.conv.weight.data[k].reshape(conv.weight.shape)
        with torch.no_grad():
            expected = module.conv.norms[k](conv(x)).relu()
            torch.testing.assert_close(module(x, bins, EDGES)[0], expected, rtol=1e-4, atol=1e-5)


def test_gates_that_do_not_sum_to_one_are_refused() -> None:
    conv, x = _module("average").conv, _inputs()[0]
    gate = torch.full((2, 5, 11, 14), 0.2)
    gate[1, 0, 3, 4] = 0.9
    with pytest.raises(ValueError, match=r"gates must sum to one at every pixel; got sums from 1 to 1\.7"):
        conv(x, gate)
    with pytest.raises(ValueError, match=r"gates must be \(N, 5, h, w\)"):
        conv(x, gate[:, :4])
    gate[1, 0, 3, 4] = float("nan")
    assert conv(x, gate).isnan().any()  # the loss sees it, and skips the step


def test_bins_are_the_oracles(shared_data: Path) -> None:
    folder = shared_data / "nyu40_sample"
    millimetres = np.asarray(Image.open(folder / "5017_depth_mm.png"))
    expected = np.asarray(Image.open(folder / "5017_depthbin.png")) - 1
    for metres in (millimetres * np.float32(0.001), (millimetres / 1000).astype(np.float32)):
        found = quantised(torch.from_numpy(metres)[None], EDGES)[0].numpy()
        assert np.array_equal(found, expected)


def test_a_depth_at_an_edge_is_of_the_nearer_bin_and_no_measurement_of_none() -> None:
    depth = torch.tensor([[[0.1, 1.5, 1.501, 2.1, 3.0, 4.7, 4.71, 90.0, 0.0, -1.0, float("nan"), float("inf")]]])
    assert quantised(depth, EDGES).flatten().tolist() == [0, 0, 1, 1, 2, 3, 4, 4, 255, 255, 255, 255]
    gates = gates_of(quantised(depth, EDGES), 5)
    assert gates[0, :, 0, 0].tolist() == [1, 0, 0, 0, 0]
    torch.testing.assert_close(gates[0, :, 0, -1], torch.full((5,), 0.2))


def test_fitted_edges_put_as_many_pixels_in_every_bin() -> None:
    made = np.random.default_rng(0)
    depths = [made.lognormal(1, 0.5, (60, 80)).astype(np.float32) for _ in range(5)]
    depths[0][:30] = 0
    edges = fit_edges(depths, 5)
    bins = np.concatenate([quantised(torch.from_numpy(d)[None], torch.tensor(edges)).numpy().ravel() for d in depths])
    shares = np.bincount(bins[bins < 5], minlength=5) / (bins < 5).sum()
    assert np.abs(shares - 0.2).max() < 0.01
    with pytest.raises(ValueError, match="no pixel of the data set has a measured depth"):
        fit_edges([np.zeros((4, 4), np.float32)], 5)
    with pytest.raises(ValueError, match="4 increasing metres"):
        fit_edges([np.ones((4, 4), np.float32)], 5)


def test_edges_that_do_not_increase_are_refused() -> None:
    for edges in ((1.0, 2.0, 2.0, 3.0), (1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0), (1.0, 2.0, 3.0, float("nan"))):
        with pytest.raises(ValueError, match="edges of 5 depth bins must be 4 increasing metres"):
            check_edges(edges, 5)
    assert default_edges(5) == NYU_EDGES and len(check_edges(default_edges(3), 3)) == 2
    assert check_edges(disparity_edges(), 5)[0] == pytest.approx(7.93, abs=0.01)


def test_depth_that_cannot_be_metres_is_refused() -> None:
    check_metres(np.full((20, 20), 2.5, np.float32))
    check_metres(np.zeros((20, 20), np.float32))
    with pytest.raises(ValueError, match="depth must be in metres; its median is 2500: millimetres"):
        check_metres(np.full((20, 20), 2500, np.uint16))


def test_depth_comes_to_a_coarser_grid_without_a_mean() -> None:
    depth = torch.tensor([1.0, 5.0]).repeat_interleave(16).expand(1, 32, 32)
    assert on_grid(depth, (4, 4)).unique().tolist() == [1.0, 5.0]


def test_smoothing_keeps_a_constant_and_halves_noise() -> None:
    depth = 3 + 0.1 * torch.randn(1, 40, 50, generator=torch.Generator().manual_seed(0))
    assert smoothed(depth, 2.0).std() < 0.5 * depth.std()
    torch.testing.assert_close(smoothed(torch.full((1, 40, 50), 3.0), 2.0), torch.full((1, 40, 50), 3.0))
    assert smoothed(depth, 0.0) is depth
    with pytest.raises(ValueError, match="must not be negative"):
        smoothed(depth, -1.0)
    with pytest.raises(ValueError, match="needs an image of more than"):
        smoothed(depth, 20.0)


def test_a_name_says_all_that_a_network_is_made_of() -> None:
    for spec in (Gating(), Gating("average", True), Gating(hard=True, aspp=True, loops=2, branch="both", width=64),
                 Gating("ground_truth", dilations=(4, 2, 1))):  # fmt: skip
        assert Gating.parsed(spec.name) == spec
    assert Gating("average", True, width=32).name == "gated-average-tied-w32"
    with pytest.raises(ValueError, match="'depth' is none of a gated network's words"):
        Gating.parsed("gated-depth")
