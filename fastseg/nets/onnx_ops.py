"""What the operations of an ONNX classifier do, in torch: a table from their names. See onnx.ai/onnx/operators."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Attributes = Mapping[str, Any]


def _ends(a: Attributes, x: Tensor, kernel: Sequence[int]) -> list[int]:
    """Padding of the last two sides as `functional.pad` takes it: left, right, top, bottom."""
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    how = a.get("auto_pad", "NOTSET")
    if how not in ("SAME_UPPER", "SAME_LOWER"):
        top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
        return [left, right, top, bottom]
    ends: list[int] = []
    for side in (1, 0):
        size = x.shape[2 + side]
        wanted = (-(-size // strides[side]) - 1) * strides[side] + (kernel[side] - 1) * dilations[side] + 1 - size
        small = max(wanted, 0) // 2
        pair = [small, max(wanted, 0) - small]
        ends += pair if how == "SAME_UPPER" else pair[::-1]
    return ends


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    left, right, top, bottom = _ends(a, x, weight.shape[2:])
    even = left == right and top == bottom
    padded = x if even else functional.pad(x, (left, right, top, bottom))
    options = {"stride": a.get("strides", [1, 1]), "dilation": a.get("dilations", [1, 1]), "groups": a.get("group", 1)}
    return functional.conv2d(padded, weight, bias, padding=(top, left) if even else 0, **options)


def _pooled(pool: Callable[..., Tensor], fill: float) -> Callable[..., Tensor]:
    def call(a: Attributes, x: Tensor) -> Tensor:
        kernel, strides = a["kernel_shape"], a.get("strides", [1, 1])
        left, right, top, bottom = _ends(a, x, kernel)
        ceil = bool(a.get("ceil_mode", 0))
        if left == right and top == bottom and 2 * left <= kernel[1] and 2 * top <= kernel[0]:
            more: dict[str, Any] = {} if fill else {"count_include_pad": bool(a.get("count_include_pad", 0))}
            return pool(x, kernel, strides, (top, left), ceil_mode=ceil, **more)
        padded = functional.pad(x, (left, right, top, bottom), value=fill)
        if fill or a.get("count_include_pad", 0):
            return pool(padded, kernel, strides, ceil_mode=ceil)
        seen = functional.pad(torch.ones_like(x[:1, :1]), (left, right, top, bottom))
        return pool(padded, kernel, strides, ceil_mode=ceil) / pool(seen, kernel, strides, ceil_mode=ceil)

    return call


def _gemm(a: Attributes, x: Tensor, y: Tensor, z: Tensor | None = None) -> Tensor:
    found: Tensor = (x.T if a.get("transA", 0) else x) @ (y.T if a.get("transB", 0) else y) * a.get("alpha", 1.0)
    if z is not None:
        found = found + a.get("beta", 1.0) * z
    return found


def _norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, var, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def _layer_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.layer_norm(x, x.shape[a.get("axis", -1) :], scale, bias, a.get("epsilon", 1e-5))


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    ends = [a.get(key) if end is None else float(end) for key, end in (("min", low), ("max", high))]
    return x.clamp(*ends) if any(end is not None for end in ends) else x


def _mean(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = a.get("axes", list(range(x.ndim))) if axes is None else axes.tolist()
    return x.mean(list(over), bool(a.get("keepdims", 1)))


def _sum(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.sum(list(range(x.ndim)) if axes is None else axes.tolist(), bool(a.get("keepdims", 1)))


def _max(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = a.get("axes", list(range(x.ndim))) if axes is None else axes.tolist()
    return x.amax(list(over), bool(a.get("keepdims", 1)))


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    parts = a.get("split") if sizes is None else sizes.tolist()
    found: tuple[Tensor, ...] = torch.split(x, -(-x.shape[axis] // a["num_outputs"]) if parts is None else parts, axis)
    return found


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1) % (x.ndim + 1)
    return x.reshape(x.shape[:axis].numel(), -1)


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sides = shape.tolist()
    return x.reshape([x.shape[i] if side == 0 and not a.get("allowzero", 0) else side for i, side in enumerate(sides)])


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = a.get("axes") if axes is None else axes.tolist()
    return x.squeeze() if over is None else x.squeeze(tuple(over))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = a["axes"] if axes is None else axes.tolist()
    rank = x.ndim + len(over)
    for axis in sorted(each % rank for each in over):
        x = x.unsqueeze(axis)
    return x


def _slice(
    a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    over = list(range(len(starts))) if axes is None else axes.tolist()
    strides = [1] * len(over) if steps is None else steps.tolist()
    where = [slice(None)] * x.ndim
    for axis, start, end, step in zip(over, starts.tolist(), ends.tolist(), strides, strict=True):
        size = x.shape[axis]  # an end may be the greatest number there is
        where[axis] = slice(max(start, -size), min(end, size), step)
    return x[tuple(where)]


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    flat = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return flat.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _unary(call: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda a, x: call(x)


def _binary(call: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    return lambda a, x, y: call(x, y)


def _divide(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


OPS: Mapping[str, Callable[..., Any]] = {
    "Conv": _conv, "Gemm": _gemm, "MatMul": _binary(torch.matmul), "BatchNormalization": _norm,
    "LayerNormalization": _layer_norm, "Clip": _clip,
    "Relu": _unary(torch.relu), "Sigmoid": _unary(torch.sigmoid), "Tanh": _unary(torch.tanh), "Erf": _unary(torch.erf),
    "HardSwish": _unary(functional.hardswish), "Sqrt": _unary(torch.sqrt), "Exp": _unary(torch.exp),
    "Identity": _unary(lambda x: x), "Dropout": lambda a, x, *rest: x,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "HardSigmoid": lambda a, x: (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1),
    "Gelu": lambda a, x: functional.gelu(x, approximate=a.get("approximate", "none")),
    "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
    "Add": _binary(operator.add), "Sub": _binary(operator.sub), "Mul": _binary(operator.mul), "Div": _binary(_divide),
    "Pow": _binary(lambda x, y: x**y),
    "MaxPool": _pooled(functional.max_pool2d, float("-inf")), "AveragePool": _pooled(functional.avg_pool2d, 0.0),
    "GlobalAveragePool": _unary(lambda x: x.mean((2, 3), keepdim=True)),
    "ReduceMean": _mean, "Flatten": _flatten, "Reshape": _reshape, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Transpose": lambda a, x: x.permute(*a.get("perm", range(x.ndim)[::-1])),
    "Expand": lambda a, x, shape: x.expand(np.broadcast_shapes(x.shape, tuple(shape.tolist()))), "Split": _split,
    "Range": lambda a, start, end, step: torch.arange(start.item(), end.item(), step.item()),
    "ReduceSum": _sum, "ReduceMax": _max, "Neg": _unary(operator.neg), "Reciprocal": _unary(torch.reciprocal),
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]), "Slice": _slice, "Gather": _gather,
    "Shape": lambda a, x: torch.tensor(x.shape[a.get("start", 0) : a.get("end", x.ndim)]),
    "Constant": lambda a: a["value"],
    "Cast": lambda a, x: x.float() if a["to"] in (1, 10, 11) else x.long(),
}  # fmt: skip
