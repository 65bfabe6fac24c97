"""Depth-aware gating (Kong and Fowlkes, 2018): each pixel's own mix of dilated convolutions, chosen by its depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.gating_depth import DepthBranch, Kind, gates_of, quantised
from fastseg.ops.gated_conv import gated_dilated_conv2d
from fastseg.ops.gated_conv_norm import gated_norm_conv2d

DILATIONS = (16, 8, 4, 2, 1)  # of the nearest bin to the farthest
PLAIN = (1,)  # the baseline: one branch, an ordinary convolution
Source = Literal["baseline", "average", "ground_truth", "attention", "predicted", "multiscale"]
SOURCES = ("baseline", "average", "ground_truth", "attention", "predicted", "multiscale")
UNGATED = ("baseline", "multiscale")
KINDS = ("classes", "regression", "both")
FLAGS = ("tied", "hard", "aspp")


@dataclass(frozen=True)
class Gating:
    """What a gated network is made of; its words, joined by `-`, are the network's name: `gated-average-tied`.

    source      where gates come from. baseline: one plain convolution; average: all alike; ground_truth: measured
                depth; predicted: the depth branch; attention: the same branch, trained without depth; multiscale: the
                baseline on the image at several sizes
    tied        one kernel at all dilations
    hard        each pixel's largest gate alone in evaluation
    aspp        in the place of DeepLabV3's ASPP, at w256: `gated-aspp-w256/deeplabv3/resnet50`
    loops       recurrent passes after the first one, as in `loops2`; 0 = no recurrent module
    branch      what the depth branch predicts: bins (classes), log-depth (regression), or both
    width       channels, as in `w512`
    dilations   of the nearest bin to the farthest, as in `d16.8.4.2.1`
    """

    source: Source = "predicted"
    tied: bool = False
    hard: bool = False
    aspp: bool = False
    loops: int = 0
    branch: Kind = "classes"
    width: int = 512
    dilations: tuple[int, ...] = DILATIONS

    def __post_init__(self) -> None:
        if self.loops < 0 or self.width < 1:
            raise ValueError(f"a gated network has loops >= 0 and a width >= 1; got {self.loops} and {self.width}")
        if len(self.dilations) < 2 or not all(1 <= each <= 64 for each in self.dilations):
            raise ValueError(f"dilations must be at least two numbers between 1 and 64; got {list(self.dilations)}")

    @property
    def name(self) -> str:
        """`gated-...`, as `parsed` reads it."""
        words = ["gated", self.source, *(word for word in FLAGS if getattr(self, word))]
        words += [f"loops{self.loops}"] * bool(self.loops) + [self.branch] * (self.branch != "classes")
        words += [f"w{self.width}"] * (self.width != 512)
        return "-".join(words + [f"d{'.'.join(map(str, self.dilations))}"] * (self.dilations != DILATIONS))

    @classmethod
    def parsed(cls, name: str) -> Gating:
        """The network of that name; ValueError for a word that means nothing."""
        found: dict[str, Any] = {}
        for word in name.split("-")[1:]:
            found |= _meaning(word, name)
        return cls(**found)


def _meaning(word: str, name: str) -> dict[str, Any]:
    if word in SOURCES:
        return {"source": word}
    if word in FLAGS:
        return {word: True}
    if word in KINDS:
        return {"branch": word}
    if word.startswith("loops") and word[5:].isdecimal():
        return {"loops": int(word[5:])}
    if word[:1] == "w" and word[1:].isdecimal():
        return {"width": int(word[1:])}
    if word[:1] == "d" and all(part.isdecimal() for part in word[1:].split(".")):
        return {"dilations": tuple(int(part) for part in word[1:].split("."))}
    known = f"{', '.join(SOURCES)}, {', '.join(FLAGS)}, {', '.join(KINDS)}, loopsN, wN, dN.N"
    raise ValueError(f"{name!r}: {word!r} is none of a gated network's words: {known}")


def check_gates(gate: Tensor, branches: int) -> None:
    """None; ValueError for soft gates of another number than the branches, or that do not sum to one at every pixel.

    Sums are looked at on the CPU alone: on a GPU every call would wait for the device. NaN is left to the loss.
    """
    if not gate.is_floating_point() or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return
    if gate.ndim != 4 or gate.shape[1] != branches:
        raise ValueError(f"gates must be (N, {branches}, h, w), one a branch; got {tuple(gate.shape)}")
    if gate.is_cuda:
        return
    sums = gate.detach().sum(1)
    if bool(((sums - 1).abs() > 1e-3).any()):
        low, high = sums.aminmax()
        raise ValueError(f"gates must sum to one at every pixel; got sums from {low:.4g} to {high:.4g}")


class GatedConv(nn.Module):
    """y (N, width, h, w) = sum_k g_k relu(norm_k(conv_k(x))) of x (N, width, h, w) and gates (N, B, h, w).

    weight   (B, width, width * 9), or (1, ...) where tied: 3x3 kernels. Three axes, since no memory format of a
             network's moves them: the kernels take them as they lie
    norms    batch-norm of each branch. Learning, a branch at a time is in memory; in evaluation they are folded and
             all branches go in one pass, or, of `hard` gates, only the one that each pixel chooses
    """

    def __init__(self, width: int, dilations: Sequence[int], tied: bool, hard: bool) -> None:
        super().__init__()
        self.dilations, self.hard = tuple(dilations), hard
        self.weight = nn.Parameter(torch.empty(1 if tied else len(dilations), width, width * 9))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in dilations)
        nn.init.kaiming_normal_(self.weight[0])
        with torch.no_grad():
            for other in self.weight[1:]:
                nn.init.kaiming_normal_(other)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """gate: float (N, B, h, w), or in evaluation branch numbers (N, h, w) uint8. ValueError: see `check_gates`."""
        check_gates(gate, len(self.dilations))
        weight = self.weight.reshape(len(self.weight), len(self.weight[0]), -1, 3, 3)
        if torch.compiler.is_exporting():
            return self._dense(x, weight, gate)
        learning = self.norms[0].training
        if learning or (torch.is_grad_enabled() and self.weight.requires_grad):
            return self._learnt(x, weight, gate, learning)
        scale, shift = self.folded()
        kernels = weight[0] if len(weight) < len(self.dilations) else weight
        hard = self.hard or not gate.is_floating_point()
        options: dict[str, Any] = {"scale": scale, "shift": shift, "relu": True, "hard": hard}
        return cast(Tensor, gated_dilated_conv2d(x, kernels, gate, self.dilations, **options))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Batch-norm in evaluation as scale and shift (B, width): gamma / sqrt(v + eps) and beta - m scale."""
        gamma, beta, mean, variance = self._constants()
        scale = gamma * (variance + self._eps).rsqrt()
        return scale.detach(), (beta - mean * scale).detach()

    @property
    def _eps(self) -> float:
        return float(self.norms[0].eps)  # type: ignore[arg-type]

    def _constants(self) -> tuple[Tensor, ...]:
        names = ("weight", "bias", "running_mean", "running_var")
        return tuple(torch.stack([getattr(norm, name) for norm in self.norms]) for name in names)

    def _learnt(self, x: Tensor, weight: Tensor, gate: Tensor, learning: bool) -> Tensor:
        if not gate.is_floating_point():
            gate = gates_of(gate, len(self.dilations))
        gamma, beta, mean, variance = self._constants()
        shared = learning and type(self.norms[0]) is not nn.BatchNorm2d  # made one over all processes
        given = None if learning else (mean, variance)
        y, mean, variance = gated_norm_conv2d(
            x, weight, gate, self.dilations, gamma, beta, given, self._eps, shared
        )  # fmt: skip
        if learning:
            self._remember(mean, variance, x.numel() // x.shape[1], shared)
        return y

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, pixels: int, shared: bool) -> None:
        count = pixels * (torch.distributed.get_world_size() if shared else 1)
        for k, norm in enumerate(cast("list[nn.BatchNorm2d]", list(self.norms))):
            tracked, means, variances = norm.num_batches_tracked, norm.running_mean, norm.running_var
            assert tracked is not None and means is not None and variances is not None and norm.momentum is not None
            tracked.add_(1)
            means.lerp_(mean[k], norm.momentum)
            variances.lerp_(variance[k] * (count / (count - 1)), norm.momentum)

    def _dense(self, x: Tensor, weight: Tensor, gate: Tensor) -> Tensor:
        """The same from operators that every exporter knows."""
        if not gate.is_floating_point() or self.hard:
            gate = gates_of(gate if gate.ndim == 3 else gate.argmax(1).to(torch.uint8), len(self.dilations))
        terms = [
            gate[:, k, None] * norm(functional.conv2d(x, weight[k % len(weight)], padding=d, dilation=d)).relu()
            for k, (d, norm) in enumerate(zip(self.dilations, self.norms, strict=True))
        ]
        return torch.stack(terms).sum(0)


class GatingModule(nn.Module):
    """Features (N, width, h, w) pooled by depth, with the gates and the depth that the branch saw.

    spec    the source of the gates, their number and what the depth branch predicts
    """

    def __init__(self, spec: Gating) -> None:
        super().__init__()
        plain = spec.source in UNGATED
        self.source, self.branch = spec.source, None
        self.conv = GatedConv(spec.width, PLAIN if plain else spec.dilations, spec.tied or plain, spec.hard)
        if spec.source in ("predicted", "attention"):
            self.branch = DepthBranch(spec.width, len(spec.dilations), spec.branch)

    def forward(
        self, x: Tensor, bins: Tensor | None, edges: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """(features, gates (N, B, h, w), bin logits or None, log-depth or None).

        bins    (N, h, w) uint8 of measured depth, for source ground_truth
        edges   (B - 1,) metres, for gates of a predicted log-depth
        """
        logits, log_depth = (None, None) if self.branch is None else self.branch(x)
        count = len(self.conv.dilations)
        if logits is not None:
            gate = logits.float().softmax(1).contiguous()
        elif log_depth is not None:
            gate = gates_of(quantised(log_depth.detach().float().exp(), edges), count)
        elif self.source == "ground_truth":
            gate = self._measured(bins, count)
        else:
            gate = x.new_full((len(x), count, *x.shape[2:]), 1 / count, dtype=torch.float32)
        gate = gate.to(torch.float64) if x.dtype == torch.float64 else gate
        return self.conv(x, self._given(gate, bins)), gate, logits, log_depth

    def _measured(self, bins: Tensor | None, count: int) -> Tensor:
        if bins is None:
            raise ValueError(
                "this network's gates are measured depth, which was not given; gates that are predicted, attention or "
                "average need none"
            )
        return gates_of(bins, count)

    def _given(self, gate: Tensor, bins: Tensor | None) -> Tensor:
        """The gates, or where each pixel has one bin for certain their numbers: a fraction of the arithmetic."""
        if self.source != "ground_truth" or bins is None or self.training or torch.compiler.is_exporting():
            return gate
        return gate if bool((bins == 255).any()) else bins
