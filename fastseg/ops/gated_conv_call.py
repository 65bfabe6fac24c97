"""The checked arguments of the op `gated_conv`, and the CPU's kernels run on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastseg.ops import arrays
from fastseg.ops import gated_conv_columns as columns

MAX_BRANCHES, MAX_DILATION = 16, 4096
TYPES = ("float32", "float64", "float16", "bfloat16")
ROWS = (0, 2, 3, 1)  # (N, C, H, W) seen as (N, H, W, C)
PLANES = (0, 3, 1, 2)
Gradients = tuple[arrays.Array | None, arrays.Array | None, arrays.Array | None]


def checked_dilations(dilations: Sequence[int]) -> tuple[int, ...]:
    """The dilations as a tuple; ValueError when there are too many, or one is out of range."""
    found = tuple(int(d) for d in dilations)
    if not 1 <= len(found) <= MAX_BRANCHES or not all(1 <= d <= MAX_DILATION for d in found):
        raise ValueError(
            f"dilations must be 1 to {MAX_BRANCHES} numbers between 1 and {MAX_DILATION}; got {tuple(dilations)}"
        )
    return found


def stored_as_rows(x: arrays.Array) -> bool:
    """True when (N, C, H, W) is stored as (N, H, W, C): torch's channels_last."""
    return len(x.shape) == 4 and not arrays.is_contiguous(x) and arrays.is_contiguous(arrays.permuted(x, ROWS))


def checked_map(name: str, x: arrays.Array, sizes: dict[str, int] | None = None) -> tuple[dict[str, int], bool]:
    """Lengths of the axes of a map (N, C, H, W) in either layout, and whether it is stored as rows."""
    rows = stored_as_rows(x)
    letters = ("N", "C", "H", "W")
    stored = arrays.permuted(x, ROWS) if rows else x
    order = tuple(letters[axis] for axis in ROWS) if rows else letters
    return arrays.check(name, stored, TYPES, order, sizes), rows


def checked_gate(gate: arrays.Array, x: arrays.Array, sizes: dict[str, int], hard: bool) -> bool:
    """True when the gate is a map of branch numbers; TypeError or ValueError when it is nothing that x can take."""
    numbers = arrays.dtype_name(gate) in ("uint8", "int64")
    if numbers:
        arrays.check("gate", gate, ("uint8", "int64"), ("N", "H", "W"), sizes, x)
        if not hard:
            raise TypeError("gate holds branch numbers, which is a hard gate: pass hard=True, or a float gate")
        return True
    arrays.check("gate", gate, wide(x), ("N", "B", "H", "W"), sizes, x)
    return False


def wide(x: arrays.Array) -> str:
    """The type of gates, scales and sums beside maps of x's type: float64 for float64, else float32."""
    return "float64" if arrays.dtype_name(x) == "float64" else "float32"


@dataclass(frozen=True)
class Call:
    """The checked arguments of one convolution, in the form that kernels take."""

    x: arrays.Array  # (N, Cin, H, W) or, `rows`, (N, H, W, Cin); contiguous
    weight: arrays.Array  # (B or 1, Cout, Cin, 3, 3)
    gate: arrays.Array | None  # (N, B, H, W) float, when soft
    chosen: arrays.Array | None  # (N, H, W) uint8, when hard
    dilations: tuple[int, ...]
    scale: arrays.Array | None  # (B, Cout)
    shift: arrays.Array | None
    relu: bool
    rows: bool
    threads: int

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(N, H, W, Cin, Cout)."""
        n, first, second, third = self.x.shape
        height, width, channels = (first, second, third) if self.rows else (second, third, first)
        return n, height, width, channels, self.weight.shape[1]

    def stored(self, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Where the axes (N, H, W, C) lie in x's layout."""
        n, height, width, channels = shape
        return shape if self.rows else (n, channels, height, width)

    def in_types(self, dtype: str) -> Call:
        """The same call with x and the weights in another type."""
        values = {**self.__dict__, "x": arrays.cast(self.x, dtype), "weight": arrays.cast(self.weight, dtype)}
        return Call(**values)


def chosen_branches(gate: arrays.Array, branches: int, numbers: bool) -> arrays.Array:
    """(N, H, W) uint8: the first largest of each pixel's gates, or the given numbers; 255 where they are no branch."""
    n, height, width = gate.shape[0], gate.shape[-2], gate.shape[-1]
    chosen = arrays.empty(gate, (n, height, width), "uint8")
    shape = (n, 1 if numbers else branches, height, width)
    arrays.backend(gate).gated_conv_choose(
        arrays.describe(gate, shape), branches, arrays.describe(chosen), arrays.stream(gate)
    )
    return chosen


def prepared(
    x: arrays.Array, weight: arrays.Array, gate: arrays.Array, dilations: Sequence[int], scale: arrays.Array | None,
    shift: arrays.Array | None, relu: bool, hard: bool, threads: int,
) -> Call:  # fmt: skip
    """The call, checked; TypeError or ValueError for what the kernels do not take."""
    rates = checked_dilations(dilations)
    sizes, rows = checked_map("x", x)
    sizes |= {"Cin": sizes["C"], "B": len(rates)}
    tied = len(weight.shape) == 4
    letters = ("Cout", "Cin", 3, 3) if tied else ("B", "Cout", "Cin", 3, 3)
    sizes |= arrays.check("weight", weight, arrays.dtype_name(x), letters, sizes, x)
    numbers = checked_gate(gate, x, sizes, hard)
    for name, constant in (("scale", scale), ("shift", shift)):
        if constant is not None:
            arrays.check(name, constant, wide(x), ("B", "Cout"), sizes, x)
            if getattr(constant, "requires_grad", False):
                raise ValueError(f"{name} is a constant of this op (folded batch-norm): detach it")
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    return Call(
        arrays.permuted(x, ROWS) if rows else x, weight[None] if tied else weight, None if hard else gate,
        chosen_branches(gate, len(rates), numbers) if hard else None, rates, scale, shift, relu, rows, threads,
    )  # fmt: skip


def forward(call: Call) -> arrays.Array:
    """y of a checked call, (N, Cout, H, W) in x's layout."""
    module = arrays.backend(call.x)
    if module.backend_name != "cpu":
        y = columns.forward(call, module)
    else:
        own = arrays.dtype_name(call.x)
        call = call.in_types(wide(call.x))
        n, height, width, _, outputs = call.shape
        y = arrays.empty(call.x, call.stored((n, height, width, outputs)), wide(call.x))
        _run(module, "gated_conv_", call, False, y=y)
        y = arrays.cast(y, own)
    return arrays.permuted(y, PLANES) if call.rows else y


def backward(call: Call, dy: arrays.Array, wanted: tuple[bool, bool, bool]) -> Gradients:
    """(dx, dweight, dgate) of a checked call, None for what is not `wanted`; dy (N, Cout, H, W) in any layout."""
    module = arrays.backend(call.x)
    dy = arrays.contiguous(arrays.permuted(dy, ROWS) if call.rows else dy)
    if module.backend_name != "cpu":
        dx, dweight, dgate = columns.backward(call, module, dy, wanted)
    else:
        own = arrays.dtype_name(call.x)
        call = call.in_types(wide(call.x))
        want_dx = wanted[0] or wanted[2]
        dx, dweight, dgate = (
            None if array is None or not want else arrays.empty(array, tuple(array.shape), wide(call.x))
            for array, want in zip((call.x, call.weight, call.gate), (want_dx, *wanted[1:]), strict=True)
        )
        _run(module, "gated_conv_backward_", call, True, dy=arrays.cast(dy, wide(call.x)), dx=dx, dweight=dweight,
             dgate=dgate)  # fmt: skip
        dx, dweight = (None if array is None else arrays.cast(array, own) for array in (dx, dweight))
    return (arrays.permuted(dx, PLANES) if call.rows and dx is not None else dx) if wanted[0] else None, dweight, dgate


def _run(module: Any, name: str, call: Call, backward: bool, **outputs: arrays.Array | None) -> None:
    """The CPU's kernel of that name on a call of float32 or float64."""
    dtype = wide(call.x)
    size = getattr(module, "gated_conv_scratch_" + dtype)(call.shape, call.rows, backward, call.threads)
    own = {name: getattr(call, name) for name in ("x", "weight", "gate", "chosen", "scale", "shift")}
    given = dict.fromkeys(("y", "dy", "dx", "dweight", "dgate")) | outputs | own
    scratch = arrays.scratch(call.x, 1, size)  # named, so that it lives until the kernel has returned
    described = {name: arrays.describe_optional(array) for name, array in given.items()}
    getattr(module, name + dtype)(
        described
        | {"dilations": call.dilations, "relu": call.relu, "channels_last": call.rows, "workers": call.threads}
        | {"scratch": arrays.describe(scratch)}
    )
