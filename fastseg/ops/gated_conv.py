"""Op `gated_conv`: each pixel's own mix (or choice) of dilated 3x3 convolutions or poolings; numpy, cupy or torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fastseg.ops import arrays, gated_conv_call, gated_conv_pool

Gradients = gated_conv_call.Gradients


def gated_dilated_conv2d(
    x: arrays.Array,
    weight: arrays.Array,
    gate: arrays.Array,
    dilations: Sequence[int],
    *,
    scale: arrays.Array | None = None,
    shift: arrays.Array | None = None,
    relu: bool = False,
    hard: bool = False,
    threads: int = 1,
) -> arrays.Array:
    """y (N, Cout, H, W): every pixel's own mix of 3x3 convolutions of several dilations, in x's type and layout.

    y(p) = sum_k gate_k(p) r(scale_k conv_k(x)(p) + shift_k), conv_k of dilation d_k with d_k zeros around x, r = ReLU
    or nothing. Hard gates: y(p) is the chosen branch alone, at a B-th of the arithmetic.
    x          (N, Cin, H, W) float32, float64, float16 or bfloat16; contiguous, or channels_last, which saves a copy
    weight     (B, Cout, Cin, 3, 3) of x's type, or (Cout, Cin, 3, 3): tied, one kernel at all dilations
    gate       (N, B, H, W) float32 (float64 with a float64 x); with `hard` its first largest entry chooses, or
               (N, H, W) uint8 or int64 branch numbers do; a number that is no branch, such as 255, gives y = 0
    dilations  B numbers
    scale, shift  (B, Cout) of the gate's type: folded batch-norm, constants without gradient
    threads    the CPU's, for numpy; torch's own number for tensors
    Torch tensors: gradients for x, weight and, when soft, gate; a hard gate has none. Under autocast x and weight are
    cast to its type; sums, epilogue and gates stay float32. On the CPU half types are computed in float32. On a GPU
    the untied hard gate reads the branches' sizes on the host, so it cannot be captured into a CUDA graph.
    Raises TypeError for another type, ValueError for another shape, layout or parameter.
    Kong and Fowlkes, "Recurrent Scene Parsing with Perspective Understanding in the Loop" (section 3.1).
    """
    if arrays.library("x", x) == "torch":
        from fastseg.ops import gated_conv_torch  # late: importing torch takes seconds

        return gated_conv_torch.conv(x, weight, gate, dilations, scale, shift, relu, hard)
    return gated_conv_call.forward(
        gated_conv_call.prepared(x, weight, gate, dilations, scale, shift, relu, hard, threads)
    )


def gated_dilated_conv2d_backward(
    dy: arrays.Array, x: arrays.Array, weight: arrays.Array, gate: arrays.Array, dilations: Sequence[int], *,
    scale: arrays.Array | None = None, shift: arrays.Array | None = None, relu: bool = False, hard: bool = False,
    threads: int = 1, wanted: tuple[bool, bool, bool] = (True, True, True),
) -> Gradients:  # fmt: skip
    """(dx, dweight, dgate), gradients of sum(dy * y) of `gated_dilated_conv2d`; None for what is not wanted.

    dy (N, Cout, H, W) of x's type; the other arguments, their units and errors are those of the forward. Nothing of
    the forward is kept: with a ReLU its sums are computed again. dgate is None for hard gates. Every sum has one
    order: the gradients are the same bits for any number of threads.
    """
    call = gated_conv_call.prepared(x, weight, gate, dilations, scale, shift, relu, hard, threads)
    n, height, width, _, outputs = call.shape
    gated_conv_call.checked_map("dy", dy, {"N": n, "C": outputs, "H": height, "W": width})
    dx, dweight, dgate = gated_conv_call.backward(call, dy, (wanted[0], wanted[1], wanted[2] and not hard))
    return dx, None if dweight is None else dweight.reshape(weight.shape), dgate


def gated_dilated_pool2d(
    x: arrays.Array,
    gate: arrays.Array,
    dilations: Sequence[int],
    kind: Literal["avg", "max"] = "avg",
    *,
    hard: bool = False,
    threads: int = 1,
) -> arrays.Array:
    """y (N, C, H, W) of x's type: every pixel's own mix of 3x3 poolings of several dilations.

    y(p) = sum_k gate_k(p) pool_k(x)(p) over the nine taps p + d_k {-1, 0, 1}^2. `avg`: a ninth of their sum, taps
    outside the image counting as zeros. `max`: the largest inside the image; NaN where a tap is NaN.
    x          (N, C, H, W) float32, float64, float16 or bfloat16, contiguous
    gate       as `gated_dilated_conv2d`'s, soft or, with `hard`, its first largest entry or branch numbers
    dilations  B numbers
    threads    the CPU's, for numpy; torch's own number for tensors
    Torch tensors: gradients for x and, when soft, gate; a maximum's goes to the centre unless another tap is larger,
    then to the first largest in row order. Half types are summed in float32.
    Raises TypeError for another type, ValueError for another shape, layout or parameter.
    """
    if arrays.library("x", x) == "torch":
        from fastseg.ops import gated_conv_torch  # late: importing torch takes seconds

        return gated_conv_torch.pool(x, gate, dilations, kind, hard)
    return gated_conv_pool.forward(gated_conv_pool.prepared(x, gate, dilations, kind, hard, threads))


def gated_dilated_pool2d_backward(
    dy: arrays.Array, x: arrays.Array, gate: arrays.Array, dilations: Sequence[int],
    kind: Literal["avg", "max"] = "avg", *, hard: bool = False, threads: int = 1,
) -> tuple[arrays.Array, arrays.Array | None]:  # fmt: skip
    """(dx, dgate), gradients of sum(dy * y) of `gated_dilated_pool2d`; dgate is None for hard gates.

    dy has x's shape and type; the other arguments and errors are those of the forward. Every sum has one order.
    """
    call = gated_conv_pool.prepared(x, gate, dilations, kind, hard, threads)
    n, channels, height, width = x.shape
    arrays.check("dy", dy, arrays.dtype_name(x), (n, channels, height, width), None, x)
    return gated_conv_pool.backward(call, dy, True)
