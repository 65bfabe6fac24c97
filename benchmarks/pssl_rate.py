"""Passes a second of SmoothGrad: captum's loop, as it is and in our passes, against ours, and the floor of the FLOPs.

python -m benchmarks.pssl_rate [--json F.json] [--plot F.png]

A pass is one noisy copy of one image forward and back to the image. Before anything is timed, ours must be captum's map
with the same noise. The floor is what the pass's multiplications and additions take at the rate of a large matrix
product in float32 on the same threads. The images of ImageNet, 15 models and 50 copies, are arithmetic from the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import timm
import torch
import torchvision
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rows import Row, keep_rows, print_rows
from benchmarks.timing import interleaved, one_thread, race
from fastseg.cli import run
from fastseg.labels.pssl_config import PSSLConfig
from fastseg.labels.pssl_gradients import Smoother, noise_seed
from fastseg.labels.pssl_member import Member, prepared

IMAGENET, MODELS, SIZE = 1_281_167, 15, 224
NETS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": torchvision.models.mobilenet_v2,
    "efficientnet_lite0": partial(timm.create_model, "efficientnet_lite0"),
    "resnet50": partial(torchvision.models.resnet50, zero_init_residual=True),  # else softmax is 0 or 1: flat
}


@dataclass(frozen=True)
class Config:
    """Options.

    copies     of the image in a call
    repeats    calls of each contestant
    budget_s   seconds a contestant may take before it sits out
    nets       those of NETS to run, all by default
    json       the file for the figures
    plot       the file for a picture of them
    """

    copies: int = 50
    repeats: int = 3
    budget_s: float = 20.0
    nets: tuple[str, ...] = tuple(NETS)
    json: Path | None = None
    plot: Path | None = None


def captum_map(member: Member, inputs: Tensor, copies: int, at_a_time: int | None) -> Tensor:
    """captum's SmoothGrad map (size, size) of class 3, all copies in one pass or some at a time."""
    tunnel = NoiseTunnel(Saliency(lambda x: member.net(x).softmax(1)))
    spread = 0.1 * float(inputs.max() - inputs.min())
    found: Tensor = tunnel.attribute(
        inputs, nt_type="smoothgrad", nt_samples=copies, nt_samples_batch_size=at_a_time, stdevs=spread, target=3
    )
    return found[0].sum(0)


def difference(member: Member, image: Tensor, ours: Smoother) -> float:
    """The mean difference of two copies' map from captum's with the same noise, over its mean.

    The networks here have random weights, which leave many activations beside the kink of a rectifier: another order
    of a sum in float32 moves some across it, and with them single pixels. Trained weights agree within 1e-5 (tests).
    """
    generator = torch.Generator()
    inputs = member.inputs(image)
    noise = [
        torch.randn(inputs.shape[1:], generator=generator.manual_seed(noise_seed(0, "image", member.name, k)))
        for k in range(2)
    ]
    with patch("torch.normal", lambda mean, std, *rest, **more: std * torch.stack(noise)):
        expected = captum_map(member, inputs, 2, None)
    found = ours.sums(image, [3], ["image"], range(2)).maps[0] / 2
    return float((found - expected).abs().mean() / expected.mean())


def peak_flops() -> float:
    """FLOP a second of a 1024 x 1024 x 1024 product in float32 on this program's thread, the best of ten."""
    a, b = torch.rand(2, 1024, 1024)
    timing = interleaved({"product": lambda: a @ b}, 10)["product"]
    return 2 * 1024**3 / (timing.min_ms / 1e3)


def flops(member: Member) -> int:
    """FLOP of one pass, two for each multiplication with addition; what is pointwise is not counted.

    A layer's way back to its input takes as many as its way forward.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        member.net(torch.zeros(1, 3, SIZE, SIZE))
    return 2 * int(counter.get_total_flops())


def rows_of(name: str, config: Config, peak: float) -> list[Row]:
    """The rows of one network; AssertionError unless ours is captum's map."""
    torch.manual_seed(0)
    member = Member(name, NETS[name]().eval(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), SIZE)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), np.uint8))
    inputs, ready = member.inputs(image), prepared(member, "cpu", torch.float32)
    pssl = PSSLConfig()
    ours, half = (
        Smoother(each, pssl.sigma, pssl.target, 0, pssl.memory_mb, pssl.most("cpu"))
        for each in (ready, prepared(member, "cpu", torch.bfloat16))
    )
    off = {"fastseg": difference(member, image, ours)}
    if not off["fastseg"] <= 1e-2:
        raise AssertionError(f"{name}: the map is off captum's by {off['fastseg']:.2g}")
    calls: dict[str, Callable[[], object]] = {
        "fastseg": lambda: ours.sums(image, [3], ["image"], range(config.copies)),
        "fastseg bf16": lambda: half.sums(image, [3], ["image"], range(config.copies)),
        "captum": lambda: captum_map(member, inputs, config.copies, None),
        f"captum, {ours.batch} at a time": lambda: captum_map(member, inputs, config.copies, ours.batch),
    }
    rows = race(name, calls, repeats=config.repeats, budget_s=config.budget_s, errors=off)
    floor_ms = flops(ready) / peak * 1e3
    return [_with_rates(row, config.copies, floor_ms) for row in rows]


def _with_rates(row: Row, copies: int, floor_ms: float) -> Row:
    """The row with passes a second, the floor's share of a pass, and the days of all of ImageNet on this thread."""
    rate = copies / row.ms_median * 1e3
    days = IMAGENET * MODELS * copies / rate / 86400
    more = {"passes_per_s": rate, "floor_ms_a_pass": floor_ms, "floor_share": floor_ms * rate / 1e3}
    return replace(row, extra={**row.extra, **more, "imagenet_15_models_thread_days": days})


def main(config: Config) -> int:
    """0 after printing (and writing) every network; AssertionError when ours is not captum's map."""
    peak = peak_flops()
    print(f"float32 product: {peak / 1e9:.1f} GFLOP/s")
    rows = [row for name in config.nets for row in rows_of(name, config, peak)]
    print_rows(rows)
    keep_rows("pssl_rate", rows, config.json, config.plot, {"copies": config.copies, "product_gflops": peak / 1e9})
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
