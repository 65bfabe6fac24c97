"""Op `photometric`: how well source frames, looked up through depth and pose or through flow, explain a target frame.

The loss, the lookup (`warp`) and SSIM, each one fused kernel. Torch tensors get gradients, numpy and cupy arrays none.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from fastseg.ops import arrays
from fastseg.ops import photometric_kernels as kernels
from fastseg.ops.photometric_kernels import PADDINGS, REDUCTIONS, WINDOWS, Lookup, Loss

Window = Literal["box3", "box7", "gauss11"]
Padding = Literal["border", "zeros"]
Reduction = Literal["min", "mean"]
MAX_SOURCES = 4
FLOATS = ("float32", "float64")


def photometric_loss(
    target: arrays.Array, sources: arrays.Array, depth: arrays.Array, intrinsics: arrays.Array, poses: arrays.Array, *,
    ssim: Window = "box3", alpha: float = 0.85, padding: Padding = "border", align_corners: bool = True,
    reduce: Reduction = "min", automask: bool = False, threads: int = 1,
) -> tuple[arrays.Array, arrays.Array, arrays.Array]:  # fmt: skip
    """The photometric loss of a depth map (N, H, W), which source it came from, and which sources were seen.

    Pixel (u, v) of depth z is looked up in source s at K (R z K^-1 (u, v, 1) + T), bilinearly, and compared by
        pe = alpha / 2 (1 - SSIM) + (1 - alpha) |target - warped|, mean over channels.
    target      (N, C, H, W) float32 or float64, in [0, 1]; takes no gradient
    sources     (N, S, C, H, W), S from 1 to 4; their gradient is made only when they ask for one
    depth       (N, H, W) metres; 0, negative, NaN and inf are "no measurement": invalid, loss 0, gradient 0
    intrinsics  (N, 4) fx, fy, cx, cy in pixels, of the target and of the sources; their gradient, too, is made only
                when they ask for one
    poses       (N, S, 4, 4) T_source_target, which maps points of the target frame into the source frame; rows 0 to 2
                are read as they stand and each of their 12 numbers gets its gradient
    ssim        `box3`, `box7` or `gauss11` (sigma 1.5); windows are mirrored at the border (the border pixel itself not
                repeated), so H and W must exceed the radius 1, 3 or 5; C1 = 0.01^2, C2 = 0.03^2
    padding     outside a source: `border` takes the nearest pixel and stays valid, without gradient to the position;
                `zeros` is 0 and invalid. A point less than 1 mm in front of the source camera is invalid either way.
                An invalid pixel counts as 0 in its neighbours' SSIM windows
    align_corners  True: pixel centres at whole numbers, the geometry of the formula above. False: position x is looked
                up at x W / (W - 1) - 1/2, as grid_sample(align_corners=False) does with positions divided by W - 1
    reduce      over the valid sources of a pixel: `min` or `mean`
    automask    drops pixels where the unwarped sources, valid there and reduced alike, have the strictly lower error
    threads     for numpy; torch tensors use torch.get_num_threads(). The values do not depend on it
    Returns (loss (N, H, W), 0 where nothing counts; choice (N, H, W) int8, the valid source of least error (the first
    of equals), -1 where none is valid or the pixel was dropped; valid (N, S, H, W) uint8).
    Under autocast half-precision tensors are taken in float32. The same inputs give the same bits; on a GPU, too, and a
    non-finite gradient makes that frame's whole source gradient NaN there.
    Raises TypeError for another dtype, ValueError for another size, layout or option.
    Depth pre-training paper (section 3.2). Minimum over sources and auto-masking are others' methods, here as options;
    see the README's notice.
    """
    how = _loss(ssim, alpha, reduce, automask)
    target, sources, depth, intrinsics, poses = _widened(target, sources, depth, intrinsics, poses)
    sizes = _check_images(target, sources, ssim)
    lookup = _depth_lookup(sources, depth, intrinsics, poses, sizes, padding, align_corners)
    return _run_loss(target, sources, lookup, how, threads)


def photometric_flow_loss(
    target: arrays.Array,
    sources: arrays.Array,
    flow: arrays.Array,
    *,
    ssim: Window = "box3",
    alpha: float = 0.85,
    padding: Padding = "border",
    align_corners: bool = True,
    reduce: Reduction = "min",
    automask: bool = False,
    threads: int = 1,
) -> tuple[arrays.Array, arrays.Array, arrays.Array]:
    """`photometric_loss` of a flow: pixel (u, v) is looked up in source s at (u, v) + flow.

    flow    (N, S, 2, H, W) pixels, u then v; NaN is "no measurement"; gets the gradient
    All else as in `photometric_loss`.
    """
    how = _loss(ssim, alpha, reduce, automask)
    target, sources, flow = _widened(target, sources, flow)
    sizes = _check_images(target, sources, ssim)
    lookup = _flow_lookup(sources, flow, sizes, padding, align_corners)
    return _run_loss(target, sources, lookup, how, threads)


def warp(
    source: arrays.Array,
    depth: arrays.Array,
    intrinsics: arrays.Array,
    pose: arrays.Array,
    *,
    padding: Padding = "border",
    align_corners: bool = True,
    threads: int = 1,
) -> tuple[arrays.Array, arrays.Array]:
    """The source as the target's camera would see it, (N, C, H, W), 0 where invalid, and validity (N, H, W) uint8.

    source  (N, C, H, W) float32 or float64
    pose    (N, 4, 4) T_source_target
    All else, gradients too, as in `photometric_loss`.
    """
    source, depth, intrinsics, pose = _widened(source, depth, intrinsics, pose)
    sources, sizes = _one_source(source)
    arrays.check("pose", pose, sizes["dtype"], ("N", 4, 4), {"N": sizes["N"]}, like=source)
    lookup = _depth_lookup(sources, depth, intrinsics, pose[:, None], sizes, padding, align_corners)
    return _run_warp(sources, lookup, threads)


def warp_flow(
    source: arrays.Array,
    flow: arrays.Array,
    *,
    padding: Padding = "border",
    align_corners: bool = True,
    threads: int = 1,
) -> tuple[arrays.Array, arrays.Array]:
    """`warp` by a flow (N, 2, H, W) in pixels, u then v."""
    source, flow = _widened(source, flow)
    sources, sizes = _one_source(source)
    arrays.check("flow", flow, sizes["dtype"], ("N", 2, "H", "W"), _lengths(sizes, "NHW"), like=source)
    return _run_warp(sources, _flow_lookup(sources, flow[:, None], sizes, padding, align_corners), threads)


def ssim(x: arrays.Array, y: arrays.Array, kind: Window = "box3", *, threads: int = 1) -> arrays.Array:
    """The structural similarity map (N, C, H, W) of two images, in [-1, 1]; 1 where they are equal.

    SSIM = (2 mx my + C1) (2 cov + C2) / ((mx^2 + my^2 + C1) (vx + vy + C2)), means over a window (see
    `photometric_loss`), C1 = 0.01^2, C2 = 0.03^2. Both images get gradients.
    x, y    (N, C, H, W) float32 or float64, in [0, 1]
    Raises TypeError for another dtype, ValueError for another size or layout.
    Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
    """
    index = _index("kind", kind, tuple(WINDOWS))
    x, y = _widened(x, y)
    sizes = arrays.check("x", x, FLOATS, ("N", "C", "H", "W"))
    arrays.check("y", y, arrays.dtype_name(x), ("N", "C", "H", "W"), sizes, like=x)
    _check_plane(sizes["H"], sizes["W"], WINDOWS[kind])
    if arrays.library("x", x) == "torch":
        from fastseg.ops import photometric_torch

        return photometric_torch.ssim(x, y, index)
    return kernels.ssim_map(x, y, index, _threads(threads))


def _run_loss(
    target: arrays.Array, sources: arrays.Array, lookup: Lookup, how: Loss, threads: int
) -> tuple[arrays.Array, arrays.Array, arrays.Array]:
    if arrays.library("target", target) != "torch":
        return kernels.loss(target, sources, lookup, how, _threads(threads))
    from fastseg.ops import photometric_torch

    _refuse_gradient("target", target)
    place = (lookup.depth, lookup.intrinsics, lookup.poses, lookup.flow, lookup.padding, lookup.align_corners)
    found = photometric_torch.loss(target, sources, *place, how.ssim, how.alpha, how.reduce, how.automask)
    return found[0], found[1], found[2]


def _run_warp(sources: arrays.Array, lookup: Lookup, threads: int) -> tuple[arrays.Array, arrays.Array]:
    if arrays.library("source", sources) != "torch":
        warped, valid = kernels.warp(sources, lookup, _threads(threads))
    else:
        from fastseg.ops import photometric_torch

        place = (lookup.depth, lookup.intrinsics, lookup.poses, lookup.flow, lookup.padding, lookup.align_corners)
        warped, valid = photometric_torch.warp(sources, *place)
    return warped[:, 0], valid[:, 0]


def _depth_lookup(
    sources: arrays.Array, depth: arrays.Array, intrinsics: arrays.Array, poses: arrays.Array, sizes: dict[str, Any],
    padding: Padding, align_corners: bool,
) -> Lookup:  # fmt: skip
    dtype = sizes["dtype"]
    arrays.check("depth", depth, dtype, ("N", "H", "W"), _lengths(sizes, "NHW"), like=sources)
    arrays.check("intrinsics", intrinsics, dtype, ("N", 4), _lengths(sizes, "N"), like=sources)
    arrays.check("poses", poses, dtype, ("N", "S", 4, 4), _lengths(sizes, "NS"), like=sources)
    return Lookup(depth, intrinsics, poses, None, *_grid(sizes, padding, align_corners))


def _flow_lookup(
    sources: arrays.Array, flow: arrays.Array, sizes: dict[str, Any], padding: Padding, align_corners: bool
) -> Lookup:
    arrays.check("flow", flow, sizes["dtype"], ("N", "S", 2, "H", "W"), _lengths(sizes, "NSHW"), like=sources)
    return Lookup(None, None, None, flow, *_grid(sizes, padding, align_corners))


def _grid(sizes: dict[str, Any], padding: Padding, align_corners: bool) -> tuple[int, bool]:
    if not align_corners and 1 in (sizes["H"], sizes["W"]):
        raise ValueError("align_corners=False needs images of at least 2 by 2 pixels; got one of 1 pixel")
    return _index("padding", padding, PADDINGS), bool(align_corners)


def _loss(ssim: str, alpha: float, reduce: str, automask: bool) -> Loss:
    if not (math.isfinite(alpha) and 0 <= alpha <= 1):
        raise ValueError(f"alpha must lie between 0 and 1; got {alpha}")
    return Loss(
        _index("ssim", ssim, tuple(WINDOWS)), float(alpha), _index("reduce", reduce, REDUCTIONS), bool(automask)
    )


def _index(name: str, word: str, known: tuple[str, ...]) -> int:
    if word not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {word!r}")
    return known.index(word)


def _threads(threads: int) -> int:
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    return threads


def _check_images(target: arrays.Array, sources: arrays.Array, ssim: str) -> dict[str, Any]:
    sizes = arrays.check("target", target, FLOATS, ("N", "C", "H", "W"))
    dtype = arrays.dtype_name(target)
    sizes = arrays.check("sources", sources, dtype, ("N", "S", "C", "H", "W"), sizes, like=target)
    if not 1 <= sizes["S"] <= MAX_SOURCES:
        raise ValueError(f"sources must hold 1 to {MAX_SOURCES} frames for each target; got {sizes['S']}")
    if sizes["C"] < 1:
        raise ValueError("target must have at least 1 channel; got 0")
    _check_plane(sizes["H"], sizes["W"], WINDOWS[ssim])
    return {**sizes, "dtype": dtype}


def _check_plane(height: int, width: int, radius: int) -> None:
    if min(height, width) <= radius:
        raise ValueError(
            f"images of {height}x{width} pixels cannot be mirrored for a window of radius {radius}: "
            f"height and width must exceed it"
        )
    if height * width >= 2**31:
        raise ValueError(f"an image must have fewer than 2^31 pixels; got {height}x{width}")


def _one_source(source: arrays.Array) -> tuple[arrays.Array, dict[str, Any]]:
    sizes = arrays.check("source", source, FLOATS, ("N", "C", "H", "W"))
    if sizes["H"] * sizes["W"] >= 2**31:
        raise ValueError(f"an image must have fewer than 2^31 pixels; got {sizes['H']}x{sizes['W']}")
    return source[:, None], {**sizes, "S": 1, "dtype": arrays.dtype_name(source)}


def _lengths(sizes: dict[str, Any], axes: str) -> dict[str, int]:
    return {axis: sizes[axis] for axis in axes}


def _widened(*tensors: arrays.Array) -> tuple[arrays.Array, ...]:
    """The arrays as they are, but torch's half-precision ones in float32 where autocast is on."""
    if any(arrays.library("the argument", array) != "torch" for array in tensors):
        return tensors
    from fastseg.ops import photometric_torch

    return photometric_torch.widened(*tensors)


def _refuse_gradient(name: str, tensor: arrays.Array) -> None:
    if tensor.requires_grad:
        raise ValueError(f"{name} takes no gradient here; give {name}.detach()")
