"""Running the kernels of `photometric` on arrays of any library: what to allocate, and csrc's structs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastseg.ops import arrays

WINDOWS = {"box3": 1, "box7": 3, "gauss11": 5}  # radius of each SSIM kind, in the order of csrc's `Ssim`
PADDINGS = ("border", "zeros")  # in the order of csrc's `Padding`
REDUCTIONS = ("min", "mean")  # in the order of csrc's `Reduce`
BYTES = {"float32": 4, "float64": 8}
WANTED = ("depth", "intrinsics", "poses", "flow", "sources")  # what a lookup can take a gradient for


@dataclass(frozen=True)
class Lookup:
    """Where target pixels are looked up in the sources: by depth and poses or by flow, as csrc's `Lookup`."""

    depth: arrays.Array | None
    intrinsics: arrays.Array | None
    poses: arrays.Array | None
    flow: arrays.Array | None
    padding: int
    align_corners: bool

    def fields(self) -> dict[str, Any]:
        """The struct's fields."""
        named = {"depth": self.depth, "intrinsics": self.intrinsics, "poses": self.poses, "flow": self.flow}
        described = {name: arrays.describe_optional(array) for name, array in named.items()}
        return {**described, "padding": self.padding, "align_corners": self.align_corners}


@dataclass(frozen=True)
class Loss:
    """How errors are made and reduced, as csrc's `Photometric`."""

    ssim: int
    alpha: float
    reduce: int
    automask: bool

    def fields(self) -> dict[str, Any]:
        """The struct's fields."""
        return {"ssim": self.ssim, "alpha": self.alpha, "reduce": self.reduce, "automask": self.automask}


def _size(sources: arrays.Array, ssim: int, dsources: bool = False) -> tuple[Any, ...]:
    """csrc's `PhotometricSize` of sources (N, S, C, H, W)."""
    return (*(int(n) for n in sources.shape), ssim, BYTES[arrays.dtype_name(sources)], dsources)


# Working memory is named in the function that calls the kernel, so that it lives until the kernel has returned.
def _scratch(like: arrays.Array, size: tuple[Any, ...], threads: int) -> arrays.Array:
    workers = 1 if arrays.on_device(like) else max(1, threads)
    return arrays.scratch(like, workers, arrays.backend(like).photometric_scratch(size))


def loss(
    target: arrays.Array, sources: arrays.Array, lookup: Lookup, how: Loss, threads: int
) -> tuple[arrays.Array, arrays.Array, arrays.Array]:
    """(loss, choice, valid) of `photometric_loss`."""
    n, s, _, height, width = (int(k) for k in sources.shape)
    out = {
        "loss": arrays.empty(target, (n, height, width), arrays.dtype_name(target)),
        "choice": arrays.empty(target, (n, height, width), "int8"),
        "valid": arrays.empty(target, (n, s, height, width), "uint8"),
    }
    if n:
        scratch = _scratch(target, _size(sources, how.ssim), threads)
        fields = _loss_fields(target, sources, lookup, how, scratch, **out)
        arrays.backend(target).photometric(fields, arrays.stream(target))
    return out["loss"], out["choice"], out["valid"]


def _loss_fields(
    target: arrays.Array, sources: arrays.Array, lookup: Lookup, how: Loss, scratch: arrays.Array,
    **out: arrays.Array | None,
) -> dict[str, Any]:  # fmt: skip
    named = {"target": target, "sources": sources, "scratch": scratch, **out}
    described = {name: arrays.describe_optional(array) for name, array in named.items()}
    return {**described, **lookup.fields(), **how.fields()}


def loss_gradient(
    dloss: arrays.Array, target: arrays.Array, sources: arrays.Array, lookup: Lookup, how: Loss,
    choice: arrays.Array, valid: arrays.Array, wanted: tuple[str, ...], threads: int,
) -> list[arrays.Array]:  # fmt: skip
    """The gradients named by `wanted`, in its order."""
    found = _gradients(sources, lookup, wanted, how.ssim)
    if sources.shape[0]:
        scratch = _scratch(target, _size(sources, how.ssim, "sources" in wanted), threads)
        fields = _loss_fields(target, sources, lookup, how, scratch, loss=None, choice=choice, valid=valid)
        arrays.backend(target).photometric_gradient(
            fields, arrays.describe(dloss), _described(found), arrays.stream(target)
        )
    return [found[name] for name in wanted]


def _gradients(sources: arrays.Array, lookup: Lookup, wanted: tuple[str, ...], ssim: int) -> dict[str, arrays.Array]:
    """The arrays of csrc's `LookupGradient`: those in `wanted`, and the sums that cameras need."""
    inputs = {
        "depth": lookup.depth, "intrinsics": lookup.intrinsics, "poses": lookup.poses, "flow": lookup.flow,
        "sources": sources,
    }  # fmt: skip
    found = {
        name: arrays.empty(sources, tuple(int(n) for n in inputs[name].shape), arrays.dtype_name(sources))
        for name in wanted
    }
    if "sources" in found:
        found["sources"][...] = 0
    if {"poses", "intrinsics"} & found.keys() and sources.shape[0]:
        rows = arrays.backend(sources).photometric_sums(_size(sources, ssim, "sources" in wanted))
        found["sums"] = arrays.empty(sources, (rows, 12), "float64")
    return found


def _described(found: dict[str, arrays.Array]) -> dict[str, Any]:
    return {name: arrays.describe_optional(found.get(name)) for name in (*WANTED, "sums")}


def warp(sources: arrays.Array, lookup: Lookup, threads: int) -> tuple[arrays.Array, arrays.Array]:
    """(warped (N, S, C, H, W), valid (N, S, H, W)) of sources (N, S, C, H, W)."""
    n, s, channels, height, width = (int(k) for k in sources.shape)
    warped = arrays.empty(sources, (n, s, channels, height, width), arrays.dtype_name(sources))
    valid = arrays.empty(sources, (n, s, height, width), "uint8")
    if 0 not in sources.shape:
        scratch = _scratch(sources, _size(sources, 0), threads)
        fields = _warp_fields(sources, lookup, warped, valid, scratch)
        arrays.backend(sources).warp(fields, arrays.stream(sources))
    return warped, valid


def _warp_fields(
    sources: arrays.Array, lookup: Lookup, warped: arrays.Array | None, valid: arrays.Array | None, scratch: Any
) -> dict[str, Any]:
    named = {"sources": sources, "warped": warped, "valid": valid, "scratch": scratch}
    return {**{name: arrays.describe_optional(array) for name, array in named.items()}, **lookup.fields()}


def warp_gradient(
    dwarped: arrays.Array, sources: arrays.Array, lookup: Lookup, wanted: tuple[str, ...], threads: int
) -> list[arrays.Array]:
    """The gradients named by `wanted`, in its order."""
    found = _gradients(sources, lookup, wanted, 0)
    if 0 not in sources.shape:
        scratch = _scratch(sources, _size(sources, 0, "sources" in wanted), threads)
        fields = _warp_fields(sources, lookup, None, None, scratch)
        arrays.backend(sources).warp_gradient(
            fields, arrays.describe(dwarped), _described(found), arrays.stream(sources)
        )
    return [found[name] for name in wanted]


def _ssim_scratch(x: arrays.Array, ssim: int, threads: int) -> arrays.Array:
    n, channels, height, width = (int(k) for k in x.shape)
    return _scratch(x, (n * channels, 1, 1, height, width, ssim, BYTES[arrays.dtype_name(x)], False), threads)


def _ssim_fields(
    x: arrays.Array, y: arrays.Array, ssim: int, out: arrays.Array | None, scratch: arrays.Array
) -> dict[str, Any]:
    n, channels, height, width = (int(k) for k in x.shape)
    planes = (n * channels, height, width)
    return {
        "x": arrays.describe(x, planes), "y": arrays.describe(y, planes), "ssim": ssim,
        "map": arrays.describe_optional(out, planes), "scratch": arrays.describe(scratch),
    }  # fmt: skip


def ssim_map(x: arrays.Array, y: arrays.Array, ssim: int, threads: int) -> arrays.Array:
    """The SSIM map (N, C, H, W)."""
    out = arrays.empty(x, tuple(int(n) for n in x.shape), arrays.dtype_name(x))
    if 0 not in x.shape:
        scratch = _ssim_scratch(x, ssim, threads)
        arrays.backend(x).ssim_map(_ssim_fields(x, y, ssim, out, scratch), arrays.stream(x))
    return out


def ssim_gradient(
    dmap: arrays.Array, x: arrays.Array, y: arrays.Array, ssim: int, wanted: tuple[str, ...], threads: int
) -> list[arrays.Array]:
    """The gradients of "x" and "y" named by `wanted`, in its order."""
    shape = tuple(int(n) for n in x.shape)
    planes = (shape[0] * shape[1], *shape[2:])
    found = {name: arrays.empty(x, shape, arrays.dtype_name(x)) for name in wanted}
    if 0 not in shape:
        dx, dy = (arrays.describe_optional(found.get(name), planes) for name in ("x", "y"))
        scratch = _ssim_scratch(x, ssim, threads)
        fields = _ssim_fields(x, y, ssim, None, scratch)
        arrays.backend(x).ssim_gradient(fields, arrays.describe(dmap, planes), dx, dy, arrays.stream(x))
    return list(found.values())
