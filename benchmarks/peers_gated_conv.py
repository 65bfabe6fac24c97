"""What `gated_conv` is measured against: every branch in full by torch's own operators, then the gated sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

Tensor = Any
DILATIONS = (1, 2, 4, 8, 16)
Kind = Literal["avg", "max"]


def gated_sum(branches: Sequence[Tensor], gate: Tensor) -> Tensor:
    """sum_k gate_k branch_k, a branch at a time."""
    y = gate[:, :1] * branches[0]
    for k in range(1, len(branches)):
        y = y + gate[:, k : k + 1] * branches[k]
    return y


def convolutions(x: Tensor, weight: Sequence[Tensor], gate: Tensor) -> Tensor:
    """Five dilated convolutions and the gated sum; a branch is let go once it is added, unless a gradient needs it."""
    import torch.nn.functional as F  # noqa: N812

    y = None
    for k, d in enumerate(DILATIONS):
        term = gate[:, k : k + 1] * F.conv2d(x, weight[k], padding=d, dilation=d)
        y = term if y is None else y + term
    return y


def depthwise_average(x: Tensor, gate: Tensor) -> Tensor:
    """Five averages as depthwise convolutions with weights of a ninth, and the gated sum."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    channels = x.shape[1]
    ninth = torch.full((channels, 1, 3, 3), 1 / 9)
    branches = [F.conv2d(x, ninth, padding=d, dilation=d, groups=channels) for d in DILATIONS]
    return gated_sum(branches, gate)


def library_maximum(x: Tensor, gate: Tensor) -> Tensor:
    """Five `max_pool2d` and the gated sum; its own padding stops at half the kernel, so the border is padded before."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    branches = [F.max_pool2d(F.pad(x, [d] * 4, value=-torch.inf), 3, 1, 0, d) for d in DILATIONS]
    return gated_sum(branches, gate)


def shifted(x: Tensor, gate: Tensor, kind: Kind) -> Tensor:
    """Five poolings as nine shifted views each, the form that a compiler fuses best, and the gated sum."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    height, width = x.shape[-2:]
    y = None
    for k, d in enumerate(DILATIONS):
        around = F.pad(x, [d] * 4, value=0.0 if kind == "avg" else -torch.inf)
        taps = [around[..., v : v + height, u : u + width] for v in (0, d, 2 * d) for u in (0, d, 2 * d)]
        pooled = taps[0]
        for tap in taps[1:]:
            pooled = pooled + tap if kind == "avg" else torch.maximum(pooled, tap)
        term = gate[:, k : k + 1] * (pooled / 9 if kind == "avg" else pooled)
        y = term if y is None else y + term
    return y


def conv_peers(x: Tensor, weight: Tensor, gate: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The five convolutions in eager mode and compiled, in both memory formats; weights are converted beforehand."""
    import torch

    rows = x.contiguous(memory_format=torch.channels_last)
    weights = [w.contiguous() for w in weight]
    row_weights = [w.contiguous(memory_format=torch.channels_last) for w in weight]
    fused = torch.compile(convolutions, fullgraph=True)
    return {
        "eager": lambda: convolutions(x, weights, gate),
        "eager_channels_last": lambda: convolutions(rows, row_weights, gate),
        "compile": lambda: fused(x, weights, gate),
        "compile_channels_last": lambda: fused(rows, row_weights, gate),
    }


def conv_training(x: Tensor, weight: Tensor, gate: Tensor, dy: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The five convolutions with gradients for x, weight and gate (None leaves the gate's out)."""
    import torch

    fused = torch.compile(convolutions, fullgraph=True)
    rows = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    row_weights = [w.detach().contiguous(memory_format=torch.channels_last).requires_grad_() for w in weight]
    weights = [w.detach().contiguous().requires_grad_() for w in weight]

    def step(call: Callable[..., Tensor], x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        leaves = [leaf for leaf in (x, *weights, gate) if leaf.requires_grad]
        return torch.autograd.grad(call(x, weights, gate), leaves, dy)

    return {
        "eager": lambda: step(convolutions, x, weights),
        "eager_channels_last": lambda: step(convolutions, rows, row_weights),
        "compile": lambda: step(fused, x, weights),
    }


def pool_peers(x: Tensor, gate: Tensor, kind: Kind) -> dict[str, Callable[[], Tensor]]:
    """The five poolings: the library's operator in both memory formats, shifted views, and those compiled."""
    import torch

    operator = depthwise_average if kind == "avg" else library_maximum
    rows = x.contiguous(memory_format=torch.channels_last)
    fused = torch.compile(shifted, fullgraph=True)
    return {
        "eager": lambda: operator(x, gate),
        "eager_channels_last": lambda: operator(rows, gate),
        "eager_shifted": lambda: shifted(x, gate, kind),
        "compile_shifted": lambda: fused(x, gate, kind),
    }
