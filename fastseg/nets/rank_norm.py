"""Batch normalisation over the images of every process of a run: its statistics are the whole batch's."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


@torch.library.custom_op("fastseg::sum_over_ranks", mutates_args=())
def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of `values` over the processes, the same bits in each; its gradient is summed over them likewise."""
    summed = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


@sum_over_ranks.register_fake
def _(values: Tensor) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _backward(ctx: object, gradient: Tensor) -> Tensor:
    found: Tensor = sum_over_ranks(gradient)
    return found


sum_over_ranks.register_autograd(_backward)


class RankBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose mean and variance are those of all processes' images together.

        y = (x - mean) / sqrt(var + eps) * weight + bias,   mean = sum x / n,   var = sum (x - mean)^2 / n

    Sums run over the pixels of every process. It takes over the parameters, buffers and, where it has them (timm),
    dropout and activation of the layer it stands for, so that a state dict has the same keys. Two exchanges of a few
    kB a layer forward and two backward; float32 or wider. torch's own SyncBatchNorm does it on CUDA alone.
    """

    def __init__(self, source: nn.BatchNorm2d) -> None:
        super().__init__(source.num_features, source.eps, source.momentum, source.affine, source.track_running_stats)
        self.weight, self.bias = source.weight, source.bias
        for name, buffer in source.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.drop: nn.Module = getattr(source, "drop", nn.Identity())
        self.act: nn.Module = getattr(source, "act", nn.Identity())
        self.train(source.training)

    def forward(self, input: Tensor) -> Tensor:
        found = self._normalised(input) if self.training else super().forward(input)
        changed: Tensor = self.act(self.drop(found))
        return changed

    def _normalised(self, input: Tensor) -> Tensor:
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        here = x.new_tensor([x.numel() / x.shape[1]])
        sums: Tensor = sum_over_ranks(torch.cat([x.sum((0, 2, 3)), here]))
        count = sums[-1].detach()
        if count < 2:
            raise ValueError(f"batch statistics need more than one value a channel; got {list(input.shape)} in all")
        mean = sums[:-1] / count
        centred = x - mean[:, None, None]
        variance: Tensor = sum_over_ranks(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        found = centred * scale[:, None, None]
        return (found + self.bias[:, None, None] if self.affine else found).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats:
            return
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)


def over_ranks(net: nn.Module, cuda: bool) -> nn.Module:
    """`net`, its batch normalisations that learn replaced by ones over all processes; frozen ones stay as they are.

    cuda    by torch's SyncBatchNorm (for timm's layers, timm's), which needs CUDA; otherwise by RankBatchNorm
    """
    from timm.layers.norm_act import convert_sync_batchnorm

    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and (child.weight is None or child.weight.requires_grad):
                made = convert_sync_batchnorm(child) if cuda else RankBatchNorm(child)  # type: ignore[no-untyped-call]
                setattr(module, name, made)
    return net
