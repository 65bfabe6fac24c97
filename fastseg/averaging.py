"""The running mean of a network's weights (Polyak averaging), which is often better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

RAW = "raw."  # before a key of the training state: the weights that are trained, where the mean of them is saved


class RunningMean:
    """The mean of the weights that a network trains; batch statistics are the network's own.

        mean <- d mean + (1 - d) weight,   d = min(decay, (1 + n) / (10 + n)),   n updates made before

    decay   in [0, 1); the first updates use a smaller one, or the random first weights would stay in the mean for long
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self._names = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
        self._weights = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self._means = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def update(self, made: int) -> None:
        """None; the weights as they are now are part of the mean, after `made` updates."""
        decay = min(self.decay, (1 + made) / (10 + made))
        torch._foreach_lerp_(self._means, list(self._weights), 1 - decay)

    def split(self, net: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The state dict with the means in the weights' place, and the weights themselves as training state."""
        weights: dict[str, Tensor] = net.state_dict()
        raw = {RAW + name: weights[name] for name in self._names}
        return {**weights, **dict(zip(self._names, self._means, strict=True))}, raw

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """None; means and weights are those that `split` gave. ValueError: the state holds no weights beside them."""
        for name, mean, weight in zip(self._names, self._means, self._weights, strict=True):
            if RAW + name not in state:
                raise ValueError(f"the checkpoint's training state lacks {name}: it was saved without optim.ema")
            mean.copy_(weights[name])
            weight.copy_(state[RAW + name])

    @contextmanager
    def inside(self) -> Iterator[None]:
        """A context in which the network's weights are the means."""
        kept = [weight.detach().clone() for weight in self._weights]
        self._put(self._means)
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.copy_(value)
