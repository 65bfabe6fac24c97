"""`gated_conv` on a GPU: 512 -> 512 channels, 3x3, dilations 1 to 16, 90x90, bf16 in channels-last; the poolings.

The peers are those of `benchmarks.peers_gated_conv` in bf16, weights and maps in channels-last, gates in bf16 as well:
every branch by cuDNN (`eager`, its algorithms tried first) or by torch.compile, then the gated sum; a hard gate saves
them nothing. Agreement is asserted with eager in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.device_race import Call, gpu_race, over
from benchmarks.peers_gated_conv import DILATIONS, convolutions, library_maximum, shifted
from benchmarks.rows import OURS, Row
from fastseg.ops.gated_conv import gated_dilated_conv2d, gated_dilated_pool2d

CHANNELS, SIDE, SETS = 512, 90, 4
POOLED = 8  # frames: 66 MB in and 66 MB out in bf16, more than the L2 holds
BRANCH_FLOPS = 2.0 * 9 * CHANNELS * CHANNELS * SIDE * SIDE
TOLERANCE = 0.02  # of the largest value: bf16 keeps 8 bits
Conv = Callable[[Any, Any, Any], Any]
Given = tuple[Any, Any, Any]  # x, weights, gate


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


def ours(x: Any, weight: Any, gate: Any, hard: bool) -> Any:
    return gated_dilated_conv2d(x, weight, gate, DILATIONS, hard=hard)


def called(conv: Conv, given: Given) -> Any:
    return conv(*given)


def with_gradients(conv: Conv, given: Given, dy: Any, hard: bool) -> tuple[Any, ...]:
    """y and the gradients of sum(dy * y) for x, the weights and, when soft, the gate."""
    import torch

    x, weight, gate = given
    x = x.detach().requires_grad_()
    listed = isinstance(weight, list)
    weights = [w.detach().requires_grad_() for w in (weight if listed else [weight])]
    gate = gate if hard else gate.detach().requires_grad_()
    y = conv(x, weights if listed else weights[0], gate)
    dx, *rest = torch.autograd.grad(y, [x, *weights] if hard else [x, *weights, gate], dy)
    dweight = torch.stack(rest[: len(weights)]) if listed else rest[0]
    return (y.detach(), dx, dweight) if hard else (y.detach(), dx, dweight, rest[-1])


def agreement(given: Given, hard: bool) -> float:
    """The largest difference from eager in float32 over the largest value; AssertionError above TOLERANCE."""
    import torch

    x, weight, gate = given
    dy = torch.randn_like(x)
    exact = with_gradients(convolutions, (x.float(), list(weight.float()), gate), dy.float(), hard)
    worst = 0.0
    for own, peer in zip(with_gradients(partial(ours, hard=hard), given, dy, hard), exact, strict=True):
        worst = max(worst, float((own.float() - peer).abs().max() / peer.abs().max()))
    assert worst <= TOLERANCE, f"{'hard' if hard else 'soft'}: ours and eager in float32 differ by {worst:.2%}"
    return worst


def conv_rows(rates: Mapping[str, float], hard: bool) -> list[Row]:
    """Forward, and forward with backward, of one kind of gate."""
    import torch

    x = [maps(1, i, torch.bfloat16).contiguous(memory_format=torch.channels_last) for i in range(SETS)]
    weight = (torch.randn(len(DILATIONS), CHANNELS, CHANNELS, 3, 3, device="cuda") / (3 * CHANNELS**0.5)).bfloat16()
    gate, dy = gates(1, hard, 0), torch.randn_like(x[0])
    apart = agreement((x[0], weight, gate), hard)
    rows_last = [w.contiguous(memory_format=torch.channels_last) for w in weight]
    own, peer = [(one, weight, gate) for one in x], [(one, rows_last, gate.bfloat16()) for one in x]
    convs: dict[str, tuple[Conv, list[Given]]] = {
        OURS: (partial(ours, hard=hard), own), "eager": (convolutions, peer),
        "compile": (torch.compile(convolutions), peer),
    }  # fmt: skip
    forward: dict[str, Call] = {name: over(partial(called, conv), given) for name, (conv, given) in convs.items()}
    both: dict[str, Call] = {
        name: over(partial(with_gradients, conv, dy=dy, hard=hard), given) for name, (conv, given) in convs.items()
    }
    flops = BRANCH_FLOPS * (1 if hard else len(DILATIONS))
    size = f"{CHANNELS}x{SIDE}x{SIDE} {'hard' if hard else 'soft'}"
    rows = gpu_race(f"{size} forward", forward, rates, flops=flops, errors={OURS: apart})
    return rows + gpu_race(f"{size} forward+backward", both, rates, flops=3 * flops, errors={OURS: apart})


def pool_rows(rates: Mapping[str, float], kind: Any) -> list[Row]:
    """One pooling with soft gates; AssertionError where it does not agree with eager in float32."""
    import torch

    x = [maps(POOLED, i, torch.bfloat16) for i in range(SETS)]
    gate = gates(POOLED, False, 1)
    exact = shifted(x[0][:1].float(), gate[:1], kind)
    apart = (gated_dilated_pool2d(x[0][:1], gate[:1], DILATIONS, kind).float() - exact).abs().max() / exact.abs().max()
    assert apart <= TOLERANCE, f"{kind} pool: ours and eager in float32 differ by {float(apart):.2%}"
    half = gate.bfloat16()
    calls: dict[str, Call] = {
        OURS: over(lambda one: gated_dilated_pool2d(one, gate, DILATIONS, kind), x),
        "eager_shifted": over(partial(shifted, gate=half, kind=kind), x),
        "compile_shifted": over(partial(torch.compile(shifted), gate=half, kind=kind), x),
    }
    if kind == "max":
        calls["eager"] = over(partial(library_maximum, gate=half), x)
    moved = 2.0 * x[0].nbytes + gate.nbytes
    case = f"{POOLED}x{CHANNELS}x{SIDE}x{SIDE} pool {kind}"
    return gpu_race(case, calls, rates, frames=POOLED, moved=moved, errors={OURS: float(apart)})


def gated_conv_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of `gated_conv`; AssertionError where it does not agree with eager in float32."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    rows = [row for hard in (False, True) for row in conv_rows(rates, hard)]
    return rows + [row for kind in ("avg", "max") for row in pool_rows(rates, kind)]
