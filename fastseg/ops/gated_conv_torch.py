"""What torch knows of the op `gated_conv`: custom operators with shapes, gradients and autocast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastseg.ops import gated_conv_call as op
from fastseg.ops import gated_conv_pool as pooling

EMPTY = 0  # elements of a gradient that was not wanted: a custom operator returns tensors only


def autocast(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """x and the weights in autocast's type where it is on, as a convolution's are."""
    if not torch.is_autocast_enabled(x.device.type) or x.dtype == torch.float64:
        return x, weight
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight.to(dtype)


def conv(
    x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], scale: Tensor | None, shift: Tensor | None,
    relu: bool, hard: bool,
) -> Tensor:  # fmt: skip
    """`fastseg.ops.gated_conv.gated_dilated_conv2d` on tensors."""
    for name, constant in (("scale", scale), ("shift", shift)):
        if constant is not None and constant.requires_grad:
            raise ValueError(f"{name} is a constant of this op (folded batch-norm): detach it")
    x, weight = autocast(x, weight)
    found: Tensor = _conv(x, weight, gate, list(dilations), scale, shift, relu, hard)
    return found


def _prepared(
    x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], scale: Tensor | None, shift: Tensor | None,
    relu: bool, hard: bool,
) -> op.Call:  # fmt: skip
    capturing = x.is_cuda and torch.cuda.is_current_stream_capturing()
    if capturing and hard and weight.ndim == 5 and len(dilations) > 1:
        raise RuntimeError("an untied hard gate cannot be captured into a CUDA graph: the host must know its sizes")
    return op.prepared(x, weight, gate, dilations, scale, shift, relu, hard, torch.get_num_threads())


@torch.library.custom_op("fastseg::gated_dilated_conv2d", mutates_args=())
def _conv(
    x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], scale: Tensor | None, shift: Tensor | None,
    relu: bool, hard: bool,
) -> Tensor:  # fmt: skip
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = op.forward(_prepared(x, weight, gate, dilations, scale, shift, relu, hard))
    return y


@_conv.register_fake
def _(
    x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], scale: Tensor | None, shift: Tensor | None,
    relu: bool, hard: bool,
) -> Tensor:  # fmt: skip
    n, _, height, width = x.shape
    layout = torch.channels_last if op.stored_as_rows(x) else torch.contiguous_format
    return x.new_empty((n, weight.shape[-4], height, width)).contiguous(memory_format=layout)


@torch.library.custom_op("fastseg::gated_dilated_conv2d_backward", mutates_args=())
def _conv_backward(
    dy: Tensor, x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], scale: Tensor | None,
    shift: Tensor | None, relu: bool, hard: bool, wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    with torch.autocast(x.device.type, enabled=False):
        call = _prepared(x, weight, gate, dilations, scale, shift, relu, hard)
        dx, dweight, dgate = op.backward(call, dy, (wanted[0], wanted[1], wanted[2] and not hard))
    given = (dx, None if dweight is None else dweight.reshape(weight.shape), dgate)
    found = [like.new_empty(EMPTY) if g is None else g for g, like in zip(given, (x, weight, gate), strict=True)]
    return found[0], found[1], found[2]


@_conv_backward.register_fake
def _(
    dy: Tensor, x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], scale: Tensor | None,
    shift: Tensor | None, relu: bool, hard: bool, wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    layout = torch.channels_last if op.stored_as_rows(x) else torch.contiguous_format
    dx = x.new_empty(x.shape).contiguous(memory_format=layout) if wanted[0] else x.new_empty(EMPTY)
    dweight = weight.new_empty(weight.shape if wanted[1] else EMPTY)
    return dx, dweight, gate.new_empty(gate.shape if wanted[2] and not hard else EMPTY)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, gate, dilations, scale, shift, relu, hard = inputs
    ctx.save_for_backward(x, weight, gate, scale, shift)
    ctx.options = (list(dilations), relu, hard)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, gate, scale, shift = ctx.saved_tensors
    dilations, relu, hard = ctx.options
    wanted = [bool(ctx.needs_input_grad[0]), bool(ctx.needs_input_grad[1]), bool(ctx.needs_input_grad[2]) and not hard]
    found = _conv_backward(dy, x, weight, gate, dilations, scale, shift, relu, hard, wanted)
    dx, dweight, dgate = (g if want else None for g, want in zip(found, wanted, strict=True))
    return dx, dweight, dgate, None, None, None, None, None


_conv.register_autograd(_gradients, setup_context=_keep)


def pool(x: Tensor, gate: Tensor, dilations: Sequence[int], kind: str, hard: bool) -> Tensor:
    """`fastseg.ops.gated_conv.gated_dilated_pool2d` on tensors."""
    found: Tensor = _pool(x, gate, list(dilations), kind, hard)
    return found


@torch.library.custom_op("fastseg::gated_dilated_pool2d", mutates_args=())
def _pool(x: Tensor, gate: Tensor, dilations: Sequence[int], kind: str, hard: bool) -> Tensor:
    y: Tensor = pooling.forward(pooling.prepared(x, gate, dilations, kind, hard, torch.get_num_threads()))
    return y


@_pool.register_fake
def _(x: Tensor, gate: Tensor, dilations: Sequence[int], kind: str, hard: bool) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("fastseg::gated_dilated_pool2d_backward", mutates_args=())
def _pool_backward(
    dy: Tensor, x: Tensor, gate: Tensor, dilations: Sequence[int], kind: str, hard: bool, want_dgate: bool
) -> tuple[Tensor, Tensor]:
    call = pooling.prepared(x, gate, dilations, kind, hard, torch.get_num_threads())
    dx, dgate = pooling.backward(call, dy, want_dgate)
    return dx, gate.new_empty(EMPTY) if dgate is None else dgate


@_pool_backward.register_fake
def _(
    dy: Tensor, x: Tensor, gate: Tensor, dilations: Sequence[int], kind: str, hard: bool, want_dgate: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), gate.new_empty(gate.shape if want_dgate and not hard else EMPTY)


def _keep_pool(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, gate, dilations, kind, hard = inputs
    ctx.save_for_backward(x, gate)
    ctx.options = (list(dilations), kind, hard)


def _pool_gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, gate = ctx.saved_tensors
    dilations, kind, hard = ctx.options
    want_dgate = bool(ctx.needs_input_grad[1]) and not hard
    dx, dgate = _pool_backward(dy, x, gate, dilations, kind, hard, want_dgate)
    return dx, dgate if want_dgate else None, None, None, None


_pool.register_autograd(_pool_gradients, setup_context=_keep_pool)
