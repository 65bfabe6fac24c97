"""The gating head and a whole gated ResNet-50 beside five dense branches: `python -m benchmarks.gating_head --json F`.

Cases: the head alone (512 channels, 90x90, batch-norm and ReLU a branch) and the network on one image of 480x640, in
evaluation with soft and with hard gates, and a training step with batch statistics (loss, gradients, no optimiser).
The peers hold the same parameters and make every branch in full by torch's operators: `dense_eager` as written, of
contiguous maps, `dense_channels_last`, and in the head's evaluation `dense_folded`, batch-norm in the kernels. First
asserts agreement, gradients included.
`--only` is a regular expression of cases; with the same `--json` other cases of this commit and processor stay.
error   the largest difference from dense_channels_last over the largest value, of the output and (training) dx; the two
        dense forms, of other layouts, differ by 4 % in dx through a whole network with batch statistics
extra   `peak_mb`: what one call adds to a fresh process at most, output and gradients included
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_gated_conv import ROOT, difference, memory
from benchmarks.timing import OURS, Row, earlier_rows, keep_rows, on_threads, one_thread, print_rows, race
from fastseg.cli import run

Call = Callable[[], Any]
TOLERANCE = 2e-4  # float32 sums in another order, through batch-norm
SMALL = {"width": 32, "side": 12, "size": 64}  # loads the libraries before memory is measured


@dataclass(frozen=True)
class Config:
    """What to measure."""

    width: int = 512
    side: int = 90
    size: str = "480x640"  # of the network's image
    only: str = ""
    repeats: int = 5
    budget_s: float = 15.0
    memory: bool = True
    json: Path | None = None


@dataclass(frozen=True)
class Case:
    """One module and its arguments, moved into either memory format."""

    module: Any
    inputs: tuple[Any, ...]
    training: bool

    def call(self, dense: bool, channels_last: bool) -> Call:
        """A call of the module, its branches in full where `dense`; in training it gives the output and dx."""
        import torch

        layout = torch.channels_last if channels_last else torch.contiguous_format
        module = _dense(self.module) if dense else self.module
        module = module.to(memory_format=layout).train(self.training)
        x, *others = self.inputs
        x = x.detach().clone(memory_format=layout).requires_grad_(self.training)

        def step() -> Any:
            if not self.training:
                with torch.inference_mode():
                    return (module(x, *others),)
            module.zero_grad(set_to_none=True)
            y = module(x, *others)
            x.grad = None
            torch.autograd.backward(y.square().mean())
            return y.detach(), x.grad

        return step


def _dense(module: Any) -> Any:
    """A copy whose gated convolutions make every branch in full and keep it, as autograd has it."""
    import copy

    from fastseg.nets.gating import GatedConv

    found = copy.deepcopy(module)
    for each in found.modules():
        if isinstance(each, GatedConv):
            each.forward = _in_full(each)  # type: ignore[method-assign, assignment]
    return found


def _in_full(conv: Any) -> Callable[[Any, Any], Any]:
    import torch.nn.functional as F  # noqa: N812

    from fastseg.nets.gating_depth import gates_of

    def forward(x: Any, gate: Any) -> Any:
        if conv.hard and not conv.training:
            gate = gates_of(gate.argmax(1).byte(), gate.shape[1])
        kernels, y = conv.weight.reshape(len(conv.weight), conv.weight.shape[1], -1, 3, 3), None
        for k, d in enumerate(conv.dilations):
            term = gate[:, k : k + 1] * conv.norms[k](F.conv2d(x, kernels[k], padding=d, dilation=d)).relu_()
            y = term if y is None else y + term
        return y

    return forward


def head(width: int, side: int, hard: bool, training: bool) -> Case:
    """The gated convolution alone, with gates of a smooth random map."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from fastseg.nets.gating import DILATIONS, GatedConv

    torch.manual_seed(20)
    conv = GatedConv(width, DILATIONS, False, hard)
    for norm in conv.norms:
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    scores = F.interpolate(torch.randn(1, 5, 8, 8), (side, side), mode="bicubic")
    return Case(conv, (torch.randn(1, width, side, side), (3 * scores).softmax(1)), training)


def network(width: int, size: tuple[int, int], hard: bool, training: bool) -> Case:
    """A whole gated ResNet-50 with predicted gates."""
    import torch

    from fastseg.nets import build_network

    name = f"gated-predicted{'-hard' * hard}-w{width}/resnet50"
    torch.manual_seed(21)
    net = build_network(name, 40, 1)
    for each in net.modules():
        if isinstance(each, torch.nn.Dropout):
            each.p = 0.0  # its masks follow the memory format
    return Case(net, (torch.randn(1, 3, *size),), training)


CASES: Mapping[str, tuple[bool, bool, bool]] = {  # whole network, hard, training
    "head soft": (False, False, False),
    "head hard": (False, True, False),
    "head training": (False, False, True),
    "network soft": (True, False, False),
    "network hard": (True, True, False),
    "network training": (True, False, True),
}


def made(name: str, width: int, side: int, size: tuple[int, int]) -> Case:
    whole, hard, training = CASES[name]
    return network(width, size, hard, training) if whole else head(width, side, hard, training)


def folded(case: Case) -> Call:
    """Five convolutions with batch-norm in their kernels and biases: the strongest plain form in evaluation."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from fastseg.nets.gating_depth import gates_of

    conv, (x, gate) = case.module.eval(), case.inputs
    if conv.hard:
        gate = gates_of(gate.argmax(1).byte(), gate.shape[1])
    scale, shift = conv.folded()
    kernels = conv.weight.detach().reshape(5, len(scale[0]), -1, 3, 3) * scale[..., None, None, None]
    rows = [each.contiguous(memory_format=torch.channels_last) for each in kernels]
    x = x.contiguous(memory_format=torch.channels_last)

    def call() -> Any:
        y = None
        with torch.inference_mode():
            for k, d in enumerate(conv.dilations):
                term = gate[:, k : k + 1] * F.conv2d(x, rows[k], shift[k], padding=d, dilation=d).relu_()
                y = term if y is None else y.add_(term)
        return (y,)

    return call


def contestants(name: str, case: Case) -> dict[str, Call]:
    """Ours on channels_last, as training lays networks out, and the peers."""
    found = {
        OURS: case.call(False, True),
        "dense_eager": case.call(True, False),
        "dense_channels_last": case.call(True, True),
    }
    return found | ({"dense_folded": folded(case)} if name in ("head soft", "head hard") else {})


def peak_here(name: str, impl: str, width: int, side: int, size: tuple[int, int]) -> float:
    """Megabytes that one call adds to this process at most; a small call loads the libraries before."""
    with on_threads(1):
        contestants(name, made(name, SMALL["width"], SMALL["side"], (SMALL["size"],) * 2))[impl]()
        call = contestants(name, made(name, width, side, size))[impl]
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
        before = memory("self", "VmRSS")
        kept = call()
        assert kept is not None
        return (memory("self", "VmHWM") - before) / 1e6


def peaks(name: str, impls: list[str], config: Config, size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """`peak_mb` of each contestant, every one in a fresh process."""
    found = {}
    for impl in impls:
        arguments = f"{name!r}, {impl!r}, {config.width}, {config.side}, {size}"
        code = f"from benchmarks.gating_head import peak_here\nprint('MB', peak_here({arguments}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
        found[impl] = {"peak_mb": round(float(done.stdout.rpartition("MB")[2]), 1)}
    return found


def measured(name: str, config: Config, size: tuple[int, int]) -> list[Row]:
    """The rows of one case on one thread.

    AssertionError where ours is further from the dense form of its layout than TOLERANCE, and than the two dense forms
    are from each other: that much rounding alone makes.
    """
    calls = contestants(name, made(name, config.width, config.side, size))
    ours, contiguous, rows = (calls[impl]() for impl in (OURS, "dense_eager", "dense_channels_last"))
    error, rounding = (max(map(difference, each, rows)) for each in (ours, contiguous))
    assert error <= max(TOLERANCE, rounding), f"{name}: ours and dense differ by {error:.2g}"
    extra = peaks(name, list(calls), config, size) if config.memory else {}
    whole = f"{config.size} {name}" if "network" in name else f"{config.width}x{config.side}x{config.side} {name}"
    return race(
        whole, calls, repeats=config.repeats, budget_s=config.budget_s, errors={OURS: error}, extra=extra
    )  # fmt: skip


def main(config: Config) -> int:
    """0 after printing every case; AssertionError when ours disagrees with the dense branches."""
    from fastseg.methods import parse_size

    size, rows = parse_size(config.size), []
    for name in CASES:
        if re.search(config.only, name):
            found = measured(name, config, size)
            print_rows(found)
            rows += found
            keep_rows("gating_head", [*rows, *earlier_rows(config.json, [row.case for row in rows])], config.json, None)
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
