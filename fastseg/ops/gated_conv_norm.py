"""Op `gated_conv` while its batch normalisation learns: a gated sum of branches, one branch in memory at a time.

With p a pixel of all N images, n their number, c a channel and k a branch (each formula is of one c):
    u_k = conv_k(x),  m_k = mean_p u_k,  v_k = mean_p (u_k - m_k)^2,  h_k = (u_k - m_k) / sqrt(v_k + eps)
    y = sum_k g_k r_k,  r_k = max(0, gamma_k h_k + beta_k)
A branch's statistics are of that branch alone, so u_k is made, measured, gated into y and let go before the next one.
Backward, of dy, makes u_k again (a third more arithmetic), some channels of one branch at a time:
    dg_k = sum_c dy r_k,   dz_k = g_k dy [r_k > 0],   dbeta_k = sum_p dz_k,   dgamma_k = sum_p dz_k h_k
    du_k = gamma_k / sqrt(v_k + eps) (dz_k - dbeta_k / n - h_k dgamma_k / n)
and dx, dweight are those of conv_k at du_k. With given statistics the last two terms are not there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fastseg.ops import gated_conv_call as op
from fastseg.ops.gated_conv_torch import autocast

CHANNELS = {"cpu": 128, "cuda": 512}  # of a branch, together in the backward: less memory, or fewer calls
AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 24}  # values of a map that are worked on together: a cache's worth, a launch's


def gated_norm_conv2d(
    x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], gamma: Tensor, beta: Tensor,
    statistics: tuple[Tensor, Tensor] | None, eps: float, shared: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(y, m, v): y (N, Cout, H, W) of x's type, channels_last; the mean and variance (B, Cout) that it was made with.

    x           (N, Cin, H, W) floating
    weight      (B, Cout, Cin, 3, 3) of x's type, or (1, Cout, Cin, 3, 3): one kernel at all dilations
    gate        (N, B, H, W) float32 (float64 with a float64 x)
    gamma, beta (B, Cout) of the gate's type
    statistics  (m, v), which then take no gradient; None = those of this batch
    shared      the batch is that of all processes of torch.distributed
    Gradients for x, weight, gate, gamma and beta; m and v (biased) have none. Autocast as in `gated_dilated_conv2d`.
    Raises TypeError, ValueError as that does, and ValueError for one value a channel, which has no variance.
    """
    x, weight = autocast(x, weight)
    if statistics is None and not shared and x.shape[0] * x.shape[2] * x.shape[3] < 2:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
    given = list(statistics) if statistics is not None else []
    y, mean, variance = _forward(x, weight, gate, list(dilations), gamma, beta, given, eps, shared)
    return y, mean.detach(), variance.detach()


def _convolution(x: Tensor, weight: Tensor, dilation: int) -> op.Call:
    """One branch alone, its gate 1 everywhere."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    ones = torch.ones(x.shape[0], 1, *x.shape[2:], dtype=wide, device=x.device)
    return op.prepared(x, weight[None], ones, (dilation,), None, None, False, False, torch.get_num_threads())


def _rows(x: Tensor) -> Tensor:
    """(N H W, C) of (N, C, H, W), a view of what is stored as channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _parts(rows: Tensor) -> Iterator[slice]:
    step = max(1, AT_ONCE[rows.device.type] // max(1, rows.shape[1]))
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _measured(rows: Tensor, like: Tensor, shared: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) of (pixels, C): two passes, since one alone cancels."""
    total = torch.zeros_like(like)
    for part in _parts(rows):
        total += rows[part].sum(0, dtype=like.dtype)
    count = _pixels(rows, like, shared)
    mean = _summed(total, shared) / count
    square = torch.zeros_like(like)
    for part in _parts(rows):
        square += (rows[part] - mean).square_().sum(0)
    return mean, _summed(square, shared) / count


def _pixels(rows: Tensor, like: Tensor, shared: bool) -> Tensor:
    return _summed(like.new_tensor(float(len(rows))), shared)


def _summed(values: Tensor, shared: bool) -> Tensor:
    if shared:
        dist.all_reduce(values)
    return values


@torch.library.custom_op("fastseg::gated_norm_conv2d", mutates_args=())
def _forward(
    x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], gamma: Tensor, beta: Tensor,
    given: Sequence[Tensor], eps: float, shared: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    x = x.contiguous(memory_format=torch.channels_last)
    mean, variance = (torch.empty_like(gamma) for _ in range(2)) if not given else (each.clone() for each in given)
    gates, y, wide = _rows(gate), None, gamma.dtype
    with torch.autocast(x.device.type, enabled=False):
        for k, dilation in enumerate(dilations):
            u = _rows(op.forward(_convolution(x, weight[k % len(weight)], dilation)))
            if not given:
                mean[k], variance[k] = _measured(u, gamma[k], shared)
            scale = gamma[k] * (variance[k] + eps).rsqrt()
            shift = beta[k] - scale * mean[k]
            y = torch.zeros(u.shape, dtype=wide, device=u.device) if y is None else y
            for part in _parts(u):
                y[part].addcmul_((u[part] * scale).add_(shift).relu_(), gates[part, k : k + 1])
            del u
    assert y is not None, "there is at least one dilation"
    n, _, height, width = x.shape
    return y.to(x.dtype).reshape(n, height, width, -1).permute(0, 3, 1, 2), mean, variance


@_forward.register_fake
def _(
    x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], gamma: Tensor, beta: Tensor,
    given: Sequence[Tensor], eps: float, shared: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    n, _, height, width = x.shape
    y = x.new_empty((n, height, width, weight.shape[1])).permute(0, 3, 1, 2)
    return y, torch.empty_like(gamma), torch.empty_like(gamma)


@torch.library.custom_op("fastseg::gated_norm_conv2d_backward", mutates_args=())
def _backward(
    dy: Tensor, x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], gamma: Tensor, beta: Tensor,
    mean: Tensor, variance: Tensor, eps: float, batch: bool, shared: bool, want_dx: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    x, dy = (each.contiguous(memory_format=torch.channels_last) for each in (x, dy))
    dx = torch.zeros_like(x) if want_dx else x.new_empty(0)
    dweight, dgamma, dbeta = torch.zeros_like(weight), torch.empty_like(gamma), torch.empty_like(beta)
    dgate = torch.zeros(_rows(gate).shape, dtype=gamma.dtype, device=gate.device)
    with torch.autocast(x.device.type, enabled=False):
        for k, some in itertools.product(range(len(dilations)), _channels(weight)):
            call = _convolution(x, weight[k % len(weight), some], dilations[k])
            u = op.forward(call)
            gamma_k, beta_k, mean_k, variance_k = (each[k, some] for each in (gamma, beta, mean, variance))
            branch = _Branch(
                _rows(u), _rows(dy)[:, some], _rows(gate)[:, k, None], gamma_k, beta_k, mean_k, variance_k, eps
            )
            dgamma[k, some], dbeta[k, some] = branch.sums(dgate[:, k])
            branch.replace(dgamma[k, some], dbeta[k, some], batch, shared)
            found, own, _ = op.backward(call, u, (want_dx, True, False))
            del u, branch
            assert own is not None, "asked for"
            dweight[k % len(weight), some] += own[0]
            if found is not None:
                dx += found
            del found, own  # the next ones must not stand beside them
    n, _, height, width = x.shape
    return dx, dweight, dgate.reshape(n, height, width, -1).permute(0, 3, 1, 2).contiguous(), dgamma, dbeta


@_backward.register_fake
def _(
    dy: Tensor, x: Tensor, weight: Tensor, gate: Tensor, dilations: Sequence[int], gamma: Tensor, beta: Tensor,
    mean: Tensor, variance: Tensor, eps: float, batch: bool, shared: bool, want_dx: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dx = x.new_empty(x.shape).contiguous(memory_format=torch.channels_last) if want_dx else x.new_empty(0)
    return dx, torch.empty_like(weight), gamma.new_empty(gate.shape), torch.empty_like(gamma), torch.empty_like(beta)


def _channels(weight: Tensor) -> list[slice]:
    step, outputs = CHANNELS[weight.device.type], weight.shape[1]
    return [slice(start, start + step) for start in range(0, outputs, step)]


class _Branch:
    """One branch's backward on (pixels, C) rows: what is added up over pixels, then du in the place of u."""

    def __init__(
        self, u: Tensor, dy: Tensor, gate: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor,
        eps: float,
    ) -> None:  # fmt: skip
        self.u, self.dy, self.gate, self.gamma, self.beta = u, dy, gate, gamma, beta
        self.mean, self.inverse = mean, (variance + eps).rsqrt()

    def _normalised(self, part: slice) -> tuple[Tensor, Tensor]:
        """h and r of some pixels."""
        h = (self.u[part] - self.mean).mul_(self.inverse)
        return h, torch.addcmul(self.beta, h, self.gamma).relu_()

    def sums(self, dgate: Tensor) -> tuple[Tensor, Tensor]:
        """dgamma and dbeta (C,); dgate (pixels,) is added to."""
        dgamma, dbeta = torch.zeros_like(self.gamma), torch.zeros_like(self.gamma)
        for part in _parts(self.u):
            h, r = self._normalised(part)
            dy = self.dy[part].to(h.dtype)
            dgate[part] += (dy * r).sum(1)
            dz = r.sign_().mul_(dy).mul_(self.gate[part])
            dbeta += dz.sum(0)
            dgamma += dz.mul_(h).sum(0)
        return dgamma, dbeta

    def replace(self, dgamma: Tensor, dbeta: Tensor, batch: bool, shared: bool) -> None:
        """None; u becomes du."""
        scale = self.gamma * self.inverse
        count = _pixels(self.u, self.gamma, shared)
        slope, level = (_summed(each.clone(), shared) / count for each in (dgamma, dbeta))
        for part in _parts(self.u):
            h, r = self._normalised(part)
            dz = r.sign_().mul_(self.dy[part]).mul_(self.gate[part])
            du = dz.sub_(level).sub_(h.mul_(slope)) if batch else dz
            self.u[part] = du.mul_(scale).to(self.u.dtype)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, gate, dilations, gamma, beta, given, eps, shared = inputs
    ctx.save_for_backward(x, weight, gate, gamma, beta, output[1], output[2])
    ctx.options = (list(dilations), eps, not given, shared, len(given))


def _gradients(ctx: Any, dy: Tensor, dmean: Tensor, dvariance: Tensor) -> tuple[Any, ...]:
    x, weight, gate, gamma, beta, mean, variance = ctx.saved_tensors
    dilations, eps, batch, shared, given = ctx.options
    wanted = ctx.needs_input_grad[0]
    dx, dweight, dgate, dgamma, dbeta = _backward(
        dy, x, weight, gate, dilations, gamma, beta, mean, variance, eps, batch, shared, wanted
    )
    return dx if wanted else None, dweight, dgate, None, dgamma, dbeta, [None] * given, None, None


_forward.register_autograd(_gradients, setup_context=_keep)
