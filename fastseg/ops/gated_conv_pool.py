"""The checked arguments of gated pooling, and the kernels run on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastseg.ops import arrays
from fastseg.ops.gated_conv_call import TYPES, checked_dilations, checked_gate, chosen_branches, wide

KINDS = ("avg", "max")


@dataclass(frozen=True)
class Pool:
    """The checked arguments of one pooling, in the form that kernels take."""

    x: arrays.Array  # (N, C, H, W) contiguous
    gate: arrays.Array | None  # (N, B, H, W) float, when soft
    chosen: arrays.Array | None  # (N, H, W) uint8, when hard
    dilations: tuple[int, ...]
    maximum: bool
    threads: int


def prepared(
    x: arrays.Array, gate: arrays.Array, dilations: Sequence[int], kind: str, hard: bool, threads: int
) -> Pool:
    """The call, checked; TypeError or ValueError for what the kernels do not take."""
    rates = checked_dilations(dilations)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    sizes = arrays.check("x", x, TYPES, ("N", "C", "H", "W")) | {"B": len(rates)}
    numbers = checked_gate(gate, x, sizes, hard)
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    chosen = chosen_branches(gate, len(rates), numbers) if hard else None
    return Pool(x, None if hard else gate, chosen, rates, kind == "max", threads)


def computed(x: arrays.Array) -> str:
    """The type that the kernels read and write for x: x's own, but the CPU has none for half types."""
    return wide(x) if arrays.backend(x).backend_name == "cpu" else arrays.dtype_name(x)


def forward(call: Pool) -> arrays.Array:
    """y of a checked call, of x's shape and type."""
    x = arrays.cast(call.x, computed(call.x))
    y = arrays.empty(x, tuple(x.shape), arrays.dtype_name(x))
    _run(call, "gated_pool_", x, False, y=y)
    return arrays.cast(y, arrays.dtype_name(call.x))


def backward(call: Pool, dy: arrays.Array, want_dgate: bool) -> tuple[arrays.Array, arrays.Array | None]:
    """(dx, dgate) of a checked call; dgate None when not wanted or hard."""
    x = arrays.cast(call.x, computed(call.x))
    dtype = arrays.dtype_name(x)
    dx = arrays.empty(x, tuple(x.shape), dtype)
    gate = call.gate if want_dgate else None
    dgate = None if gate is None else arrays.empty(gate, tuple(gate.shape), wide(x))
    _run(call, "gated_pool_backward_", x, True, dy=arrays.cast(arrays.contiguous(dy), dtype), dx=dx, dgate=dgate)
    return arrays.cast(dx, arrays.dtype_name(call.x)), dgate


def _run(call: Pool, name: str, x: arrays.Array, backward: bool, **outputs: arrays.Array | None) -> None:
    module: Any = arrays.backend(x)
    dtype = arrays.dtype_name(x)
    size = getattr(module, "gated_pool_scratch_" + dtype)(tuple(x.shape), call.dilations, backward, call.threads)
    given = dict.fromkeys(("y", "dy", "dx", "dgate")) | outputs | {"x": x, "gate": call.gate, "chosen": call.chosen}
    scratch = arrays.scratch(x, 1, size)  # named, so that it lives until the kernel has returned
    described = {key: arrays.describe_optional(array) for key, array in given.items()}
    getattr(module, name + dtype)(
        described
        | {"dilations": call.dilations, "maximum": call.maximum, "workers": call.threads}
        | {"scratch": arrays.describe(scratch)},
        arrays.stream(x),
    )
