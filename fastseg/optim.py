"""Optimisers, rate schedules, and an optimiser's state as named tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from fastseg.methods import OptimConfig

POWER = 0.9


def optimiser(net: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters that are not frozen."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def rate(step: int, steps: int, config: OptimConfig) -> float:
    """The learning rate of step 0 .. steps - 1: a linear warm-up, then the schedule."""
    done = step / steps
    decay = {"constant": 1.0, "poly": (1 - done) ** POWER, "cosine": (1 + math.cos(math.pi * done)) / 2}
    decay["step"] = config.step_factor ** sum(step >= at for at in config.step_at)
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return float(config.lr * warm * decay[config.schedule])


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
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    if set(state) - set(range(len(plain["param_groups"][0]["params"]))):
        raise ValueError("the checkpoint's optimiser state is of more parameters than this network trains")
    optimizer.load_state_dict({**plain, "state": state})
