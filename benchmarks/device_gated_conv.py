"""`gated_conv` on a GPU: 512 -> 512 channels, 3x3, dilations 1 to 16, 90x90, bf16 in channels-last; the poolings.

The peers compute every branch by cuDNN (`eager`, its algorithms tried first) or by torch.compile, then the gated sum;
a hard gate saves them nothing. Agreement is asserted with eager in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastseg.ops.gated_conv import gated_dilated_conv2d, gated_dilated_pool2d

from benchmarks.device_race import Call, gpu_race, over
from benchmarks.rows import OURS, Row

CHANNELS, SIDE, DILATIONS, SETS = 512, 90, (1, 2, 4, 8, 16), 4
POOLED = 8  # frames: 133 MB of bf16, more than the L2 holds
BRANCH_FLOPS = 2.0 * 9 * CHANNELS * CHANNELS * SIDE * SIDE
TOLERANCE = 0.02  # of the largest value: bf16 keeps 8 bits
Conv = Callable[[Any, Any, Any], Any]


def dense(x: Any, weight: Any, gate: Any) -> Any:
    """Every branch in full, then the gated sum."""
    from torch.nn.functional import conv2d

    gate = gate.to(x.dtype)
    y = 0
    for k, d in enumerate(DILATIONS):
        y = y + gate[:, k : k + 1] * conv2d(x, weight[k], padding=d, dilation=d)
    return y


def pooled(x: Any, gate: Any, kind: str) -> Any:
    """Every pooling in full, then the gated sum; the average as a depthwise convolution, for no pooling dilates it."""
    import torch
    from torch.nn.functional import conv2d, max_pool2d

    channels, y = x.shape[1], 0
    ninth = torch.full((channels, 1, 3, 3), 1 / 9, dtype=x.dtype, device=x.device)
    for k, d in enumerate(DILATIONS):
        if kind == "max":
            branch = max_pool2d(x, 3, 1, padding=d, dilation=d)
        else:
            branch = conv2d(x, ninth, padding=d, dilation=d, groups=channels)
        y = y + gate[:, k : k + 1].to(x.dtype) * branch
    return y


def gates(frames: int, hard: bool, seed: int, device: str = "cuda") -> Any:
    """(N, 5, 90, 90) float32: soft gates that sum to one, or one-hot ones in patches as depth makes them."""
    import torch

    made = torch.Generator(device).manual_seed(seed)
    coarse = torch.randn(frames, len(DILATIONS), SIDE // 9, SIDE // 9, device=device, generator=made)
    gate = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear").softmax(1).contiguous()
    if not hard:
        return gate
    return torch.zeros_like(gate).scatter_(1, gate.argmax(1, keepdim=True), 1.0)


def maps(frames: int, seed: int, dtype: Any, device: str = "cuda") -> Any:
    """(N, 512, 90, 90) random values."""
    import torch

    made = torch.Generator(device).manual_seed(seed)
    return torch.randn(frames, CHANNELS, SIDE, SIDE, device=device, generator=made).to(dtype)


def with_gradients(conv: Conv, given: tuple[Any, Any, Any], dy: Any, hard: bool) -> tuple[Any, ...]:
    """y and the gradients of sum(dy * y) for x, weight and, when soft, gate."""
    import torch

    leaves = [part.detach().requires_grad_() for part in given]
    if hard:
        leaves[2] = given[2]
    y = conv(*leaves)
    return (y, *torch.autograd.grad(y, leaves[: 2 if hard else 3], dy))


def agreement(conv: Conv, given: tuple[Any, Any, Any], hard: bool) -> float:
    """The largest difference from eager in float32 over the largest value; AssertionError above TOLERANCE."""
    import torch

    dy = torch.randn_like(given[0])
    truth = with_gradients(dense, (given[0].float(), given[1].float(), given[2]), dy.float(), hard)
    worst = 0.0
    for own, peer in zip(with_gradients(conv, given, dy, hard), truth, strict=True):
        worst = max(worst, float((own.float() - peer).abs().max() / peer.abs().max()))
    assert worst <= TOLERANCE, f"{'hard' if hard else 'soft'}: ours and eager in float32 differ by {worst:.2%}"
    return worst


def conv_rows(rates: Mapping[str, float], hard: bool) -> list[Row]:
    """Forward, and forward with backward, of one kind of gate."""
    import torch

    kind = "hard" if hard else "soft"
    x = [maps(1, i, torch.bfloat16).contiguous(memory_format=torch.channels_last) for i in range(SETS)]
    weight = (0.02 * torch.randn(len(DILATIONS), CHANNELS, CHANNELS, 3, 3, device="cuda")).bfloat16()
    gate, dy = gates(1, hard, 0), torch.randn_like(x[0])

    def ours(x: Any, weight: Any, gate: Any) -> Any:
        return gated_dilated_conv2d(x, weight, gate, DILATIONS, hard=hard)

    apart = agreement(ours, (x[0], weight, gate), hard)
    convs: dict[str, Conv] = {OURS: ours, "eager": dense, "compile": torch.compile(dense)}
    flops = BRANCH_FLOPS * (1 if hard else len(DILATIONS))
    given = [(one, weight, gate) for one in x]
    forward: dict[str, Call] = {name: over(partial(_spread, conv), given) for name, conv in convs.items()}
    both: dict[str, Call] = {
        name: over(partial(with_gradients, conv, dy=dy, hard=hard), given) for name, conv in convs.items()
    }
    size = f"{CHANNELS}x{SIDE}x{SIDE}"
    rows = gpu_race(f"{size} {kind} forward", forward, rates, flops=flops, errors={OURS: apart})
    return rows + gpu_race(f"{size} {kind} forward+backward", both, rates, flops=3 * flops, errors={OURS: apart})


def _spread(conv: Conv, given: tuple[Any, Any, Any]) -> Any:
    return conv(*given)


def pool_rows(rates: Mapping[str, float], kind: str) -> list[Row]:
    """One pooling with soft gates; AssertionError where it does not agree with eager in float32."""
    import torch

    x = [maps(POOLED, i, torch.bfloat16) for i in range(SETS)]
    gate = gates(POOLED, False, 1)

    pool: Any = gated_dilated_pool2d
    truth, own = pooled(x[0][:1].float(), gate[:1], kind), pool(x[0][:1], gate[:1], DILATIONS, kind)
    apart = float((own.float() - truth).abs().max() / truth.abs().max())
    assert apart <= TOLERANCE, f"{kind} pool: ours and eager in float32 differ by {apart:.2%}"
    compiled = torch.compile(pooled)
    calls: dict[str, Call] = {
        OURS: over(partial(pool, gate=gate, dilations=DILATIONS, kind=kind), x),
        "eager": over(partial(pooled, gate=gate, kind=kind), x),
        "compile": over(partial(compiled, gate=gate, kind=kind), x),
    }
    moved = 2.0 * x[0].nbytes + gate.nbytes
    case = f"{POOLED}x{CHANNELS}x{SIDE}x{SIDE} pool {kind}"
    return gpu_race(case, calls, rates, frames=POOLED, moved=moved, errors={OURS: apart})


def gated_conv_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of `gated_conv`; AssertionError where it does not agree with eager in float32."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    rows = [row for hard in (False, True) for row in conv_rows(rates, hard)]
    return rows + [row for kind in ("avg", "max") for row in pool_rows(rates, kind)]
