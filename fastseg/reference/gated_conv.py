"""Reference of the op `gated_conv`: every branch in full for every pixel, tap by tap, then the gated sum; numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
TAPS = [(v, u) for v in (0, 1, 2) for u in (0, 1, 2)]


def gates_of(gate: Array, branches: int, hard: bool) -> Array:
    """(N, B, H, W): the gate itself, or 1 for the first largest (or the given branch number) and 0 for the others."""
    if not hard:
        return gate
    numbers = gate.argmax(1) if gate.ndim == 4 else gate
    return np.stack([numbers == k for k in range(branches)], 1).astype(np.float64)


def taps(x: Array, dilation: int, outside: float = 0.0) -> Array:
    """(3, 3, N, C, H, W): what the nine taps of every pixel read, `outside` around the image."""
    height, width = x.shape[-2:]
    around = np.pad(x, [(0, 0), (0, 0), (dilation, dilation), (dilation, dilation)], constant_values=outside)
    read = [around[..., v * dilation :, u * dilation :][..., :height, :width] for v, u in TAPS]
    return np.stack(read).reshape(3, 3, *x.shape)


def spread(dtaps: Array, dilation: int) -> Array:
    """(N, C, H, W): gradients of the nine taps (3, 3, N, C, H, W) added where they read."""
    *batch, height, width = dtaps.shape[2:]
    around = np.zeros((*batch, height + 2 * dilation, width + 2 * dilation))
    for v, u in TAPS:
        around[..., v * dilation :, u * dilation :][..., :height, :width] += dtaps[v, u]
    return around[..., dilation : dilation + height, dilation : dilation + width]


def affine(value: Array | float, constant: Array | None, k: int) -> Any:
    """A branch's scale or shift (B, Cout) in the shape of its map, `value` when there is none."""
    return value if constant is None else constant[k][:, None, None]


def gated_dilated_conv2d(
    x: Array, weight: Array, gate: Array, dilations: Sequence[int], *, scale: Array | None = None,
    shift: Array | None = None, relu: bool = False, hard: bool = False, dy: Array | None = None,
) -> Any:  # fmt: skip
    """y = sum_k gate_k r(scale_k conv_k(x) + shift_k); with dy instead (dx, dweight, dgate) of sum(dy y)."""
    gates, weights = gates_of(gate, len(dilations), hard), weight if weight.ndim == 5 else weight[None]
    y, dx, dgate = 0.0, np.zeros(x.shape), np.zeros(gates.shape)
    dweight = np.zeros(weights.shape)
    for k, dilation in enumerate(dilations):
        read, own = taps(x, dilation), k if weight.ndim == 5 else 0
        branch = np.einsum("oivu,vunihw->nohw", weights[own], read, optimize=True)
        branch = affine(1.0, scale, k) * branch + affine(0.0, shift, k)
        live = branch > 0 if relu else np.ones_like(branch)
        branch = branch * live
        y = y + gates[:, k : k + 1] * branch
        if dy is None:
            continue
        dgate[:, k] = (dy * branch).sum(1)
        dconv = dy * gates[:, k : k + 1] * live * affine(1.0, scale, k)
        dweight[own] += np.einsum("nohw,vunihw->oivu", dconv, read, optimize=True)
        dx += spread(np.einsum("nohw,oivu->vunihw", dconv, weights[own], optimize=True), dilation)
    return y if dy is None else (dx, dweight.reshape(weight.shape), None if hard else dgate)


def gated_dilated_pool2d(
    x: Array, gate: Array, dilations: Sequence[int], kind: str = "avg", *, hard: bool = False, dy: Array | None = None
) -> Any:
    """y = sum_k gate_k pool_k(x), zeros around an average, nothing around a maximum; with dy instead (dx, dgate)."""
    gates = gates_of(gate, len(dilations), hard)
    y, dx, dgate = np.zeros(x.shape), np.zeros(x.shape), np.zeros(gates.shape)
    for k, dilation in enumerate(dilations):
        read = taps(x, dilation, 0.0 if kind == "avg" else -np.inf)
        flat = read.reshape(9, *x.shape)
        pooled = flat.mean(0) if kind == "avg" else flat.max(0)
        y += gates[:, k : k + 1] * pooled
        if dy is None:
            continue
        dgate[:, k] = (dy * pooled).sum(1)
        best = np.where(flat[4] == pooled, 4, flat.argmax(0))  # the centre, or the first in row order
        share = np.stack([np.full(x.shape, 1 / 9) if kind == "avg" else best == tap for tap in range(9)])
        dx += spread((share * dy * gates[:, k : k + 1]).reshape(read.shape), dilation)
    return y if dy is None else (dx, None if hard else dgate)
