"""`photometric` as torch operators: fake, autograd and autocast; loaded with the first torch tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastseg.ops import photometric_kernels as kernels
from fastseg.ops.photometric_kernels import Lookup, Loss

_LOOKUP = "Tensor? depth, Tensor? intrinsics, Tensor? poses, Tensor? flow, int padding, bool align_corners"
_HOW = "int ssim, float alpha, int reduce, bool automask"
_WANTED = "bool[] wanted"  # which of depth, intrinsics, poses, flow, sources


def _names(wanted: Sequence[bool]) -> tuple[str, ...]:
    return tuple(name for name, want in zip(kernels.WANTED, wanted, strict=True) if want)


def _likes(wanted: Sequence[bool], *inputs: Tensor | None) -> list[Tensor]:
    """Empty gradients of the wanted inputs: depth, intrinsics, poses, flow, sources."""
    return [torch.empty_like(array) for want, array in zip(wanted, inputs, strict=True) if want and array is not None]


def _spread(wanted: Sequence[bool], found: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of depth, intrinsics, poses, flow and sources, None for each that is not wanted."""
    rest = iter(found)
    return [next(rest) if want else None for want in wanted]


@torch.library.custom_op(
    "fastseg::photometric_loss", mutates_args=(),
    schema=f"(Tensor target, Tensor sources, {_LOOKUP}, {_HOW}) -> (Tensor, Tensor, Tensor)",
)  # fmt: skip
def loss(target: Tensor, sources: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, choice, valid) of `fastseg.ops.photometric.photometric_loss`."""
    return kernels.loss(target, sources, Lookup(*rest[:6]), Loss(*rest[6:]), torch.get_num_threads())


@loss.register_fake
def _(target: Tensor, sources: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    n, s, _, height, width = sources.shape
    shape = (n, height, width)
    return (
        target.new_empty(shape),
        target.new_empty(shape, dtype=torch.int8),
        target.new_empty((n, s, height, width), dtype=torch.uint8),
    )


@torch.library.custom_op(
    "fastseg::photometric_loss_gradient", mutates_args=(),
    schema=f"(Tensor dloss, Tensor choice, Tensor valid, {_WANTED}, Tensor target, Tensor sources, {_LOOKUP}, {_HOW}) "
           "-> Tensor[]",
)  # fmt: skip
def loss_gradient(
    dloss: Tensor, choice: Tensor, valid: Tensor, wanted: Sequence[bool], target: Tensor, sources: Tensor, *rest: Any
) -> list[Tensor]:
    """The gradients of the wanted ones of depth, intrinsics, poses, flow and sources."""
    return kernels.loss_gradient(
        dloss.contiguous(), target, sources, Lookup(*rest[:6]), Loss(*rest[6:]), choice, valid, _names(wanted),
        torch.get_num_threads(),
    )  # fmt: skip


@loss_gradient.register_fake
def _(
    dloss: Tensor, choice: Tensor, valid: Tensor, wanted: Sequence[bool], target: Tensor, sources: Tensor, *rest: Any
) -> list[Tensor]:
    return _likes(wanted, *rest[:4], sources)


def _keep_loss(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:6], *output[1:])
    ctx.rest = inputs[6:]
    ctx.mark_non_differentiable(*output[1:])


def _loss_backward(ctx: Any, dloss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *inputs, choice, valid = ctx.saved_tensors
    wanted = [ctx.needs_input_grad[i] for i in (2, 3, 4, 5, 1)]
    found = torch.ops.fastseg.photometric_loss_gradient(dloss, choice, valid, wanted, *inputs, *ctx.rest)
    *places, sources = _spread(wanted, found)
    return None, sources, *places, *(None for _ in ctx.rest)


loss.register_autograd(_loss_backward, setup_context=_keep_loss)


@torch.library.custom_op("fastseg::warp", mutates_args=(), schema=f"(Tensor sources, {_LOOKUP}) -> (Tensor, Tensor)")
def warp(sources: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """(warped, valid) of `fastseg.ops.photometric.warp`, for sources (N, S, C, H, W)."""
    return kernels.warp(sources, Lookup(*rest), torch.get_num_threads())


@warp.register_fake
def _(sources: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    n, s, _, height, width = sources.shape
    return torch.empty_like(sources), sources.new_empty((n, s, height, width), dtype=torch.uint8)


@torch.library.custom_op(
    "fastseg::warp_gradient", mutates_args=(),
    schema=f"(Tensor dwarped, {_WANTED}, Tensor sources, {_LOOKUP}) -> Tensor[]",
)  # fmt: skip
def warp_gradient(dwarped: Tensor, wanted: Sequence[bool], sources: Tensor, *rest: Any) -> list[Tensor]:
    """The gradients of the wanted ones of depth, intrinsics, poses, flow and sources."""
    threads = torch.get_num_threads()
    return kernels.warp_gradient(dwarped.contiguous(), sources, Lookup(*rest), _names(wanted), threads)


@warp_gradient.register_fake
def _(dwarped: Tensor, wanted: Sequence[bool], sources: Tensor, *rest: Any) -> list[Tensor]:
    return _likes(wanted, *rest[:4], sources)


def _keep_warp(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.rest = inputs[5:]
    ctx.mark_non_differentiable(output[1])


def _warp_backward(ctx: Any, dwarped: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    wanted = [ctx.needs_input_grad[i] for i in (1, 2, 3, 4, 0)]
    found = torch.ops.fastseg.warp_gradient(dwarped, wanted, *ctx.saved_tensors, *ctx.rest)
    *places, sources = _spread(wanted, found)
    return sources, *places, None, None


warp.register_autograd(_warp_backward, setup_context=_keep_warp)


@torch.library.custom_op("fastseg::ssim", mutates_args=())
def ssim(x: Tensor, y: Tensor, kind: int) -> Tensor:
    """The SSIM map of `fastseg.ops.photometric.ssim`."""
    found: Tensor = kernels.ssim_map(x, y, kind, torch.get_num_threads())
    return found


@ssim.register_fake
def _(x: Tensor, y: Tensor, kind: int) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op(
    "fastseg::ssim_gradient", mutates_args=(),
    schema="(Tensor dmap, Tensor x, Tensor y, int kind, bool[] wanted) -> Tensor[]",
)  # fmt: skip
def ssim_gradient(dmap: Tensor, x: Tensor, y: Tensor, kind: int, wanted: Sequence[bool]) -> list[Tensor]:
    """The gradients of the wanted ones of x and y."""
    names = tuple(name for name, want in zip("xy", wanted, strict=True) if want)
    return kernels.ssim_gradient(dmap.contiguous(), x, y, kind, names, torch.get_num_threads())


@ssim_gradient.register_fake
def _(dmap: Tensor, x: Tensor, y: Tensor, kind: int, wanted: Sequence[bool]) -> list[Tensor]:
    return _likes(wanted, x, y)


def _keep_ssim(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.kind = inputs[2]


def _ssim_backward(ctx: Any, dmap: Tensor) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:2])
    found = torch.ops.fastseg.ssim_gradient(dmap, *ctx.saved_tensors, ctx.kind, wanted)
    return *_spread(wanted, found), None


ssim.register_autograd(_ssim_backward, setup_context=_keep_ssim)
for _op in (loss, warp, ssim):
    for _device in ("cpu", "cuda"):
        _op.register_autocast(_device, torch.float32)


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, half-precision ones in float32 where autocast is on."""
    if not torch.is_autocast_enabled(tensors[0].device.type):
        return tensors
    return tuple(t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors)
