"""Optimisers, rates by layer and by step, clipping, and an optimiser's state as named tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from fastseg.methods import OptimConfig

POWER = 0.9


def optimiser(net: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters that are not frozen, in groups of one rate, the fastest first.

    Both are torch's fused ones: one pass over a parameter and what is remembered of it, on the CPU too, where torch's
    own choice reads and writes them once for each of the update's terms.
    """
    groups: list[dict[str, Any]] = [
        {"params": parameters, "factor": factor} for factor, parameters in rate_groups(net, config.layer_decay)
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)


def rate_groups(net: nn.Module, layer_decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    """(factor of the rate, parameters) of all that is not frozen: d^k for the encoder's block k before the decoder.

    layer_decay   d; the decoder and the classifier have 1, the last encoder block d, the stem the least; an encoder's
                  parameters of no block (class token, position embedding) go with the stem. 1 = one group

    ValueError: an encoder that does not show its blocks.
    """
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if layer_decay == 1:
        return [(1.0, trained)]
    depth = _depths(net)
    groups: dict[int, list[nn.Parameter]] = {}
    for parameter in trained:
        groups.setdefault(depth.get(id(parameter), 0), []).append(parameter)
    return [(layer_decay**blocks, groups[blocks]) for blocks in sorted(groups)]


def _depths(net: nn.Module) -> dict[int, int]:
    """Blocks between a parameter (by id) and the decoder, that of its own included; the encoder's parameters alone."""
    from fastseg.nets import CrossStitch, blocks

    own = net.net if isinstance(net, CrossStitch) else net
    try:
        parts = blocks(own)
    except ValueError as error:
        raise ValueError(f"optim.layer_decay needs an encoder in blocks: {error}") from error
    encoder: Any = own.encoder
    depth = {id(parameter): len(parts) for parameter in encoder.parameters()}
    for index, part in enumerate(parts):
        depth |= {id(parameter): len(parts) - index for module in part for parameter in module.parameters()}
    return depth


def rate(step: int, steps: int, config: OptimConfig) -> float:
    """The learning rate of step 0 .. steps - 1: a linear warm-up, then the schedule."""
    done = step / steps
    decay = {
        "constant": 1.0,
        "poly": (1 - done) ** POWER,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "step": config.step_factor ** sum(step >= at for at in config.step_at or (steps * 3 // 4,)),
    }
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return float(config.lr * warm * decay[config.schedule])


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """None; each group's rate is `lr` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def clip(net: nn.Module, norm: Tensor, value: float, limit: float) -> None:
    """None; the gradient is scaled down to an L2 norm of `limit` (0 = any), where `norm` (`value`) is more."""
    if 0 < limit < value:
        nn.utils.clip_grads_with_norm_(_with_gradient(net), limit, norm, foreach=True)


def gradient_norm(net: nn.Module) -> Tensor:
    """The gradient's L2 norm, a scalar."""
    gradients = [parameter.grad for parameter in _with_gradient(net) if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients, foreach=True)


def _with_gradient(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.grad is not None]


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers, `<parameter index>.<name>` -> tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """None; the optimiser remembers again what `state_tensors` gave. ValueError when it is not the same optimiser."""
    plain = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    if set(state) - set(range(len(parameters))):
        raise ValueError("the checkpoint's optimiser state is of more parameters than this network trains")
    for at, values in state.items():
        state[at] = {name: _laid_out(value, parameters[at]) for name, value in values.items()}
    optimizer.load_state_dict({**plain, "state": state})


def _laid_out(value: Tensor, like: Tensor) -> Tensor:
    """`value` in the memory format of its parameter: in another one, every later step would be slower."""
    return torch.empty_like(like, dtype=value.dtype).copy_(value) if value.shape == like.shape else value
