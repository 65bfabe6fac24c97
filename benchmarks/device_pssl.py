"""SmoothGrad passes on a GPU: ours in three forms beside captum's loop, against the rate of a bf16 product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.device_race import Call, gpu_race
from benchmarks.rows import OURS, Row

COPIES, PICTURES = 50, 4  # of a call: 200 passes, the most that one batch of ours takes on a GPU
MEMORY_MB = 32_000
APART = 2e-2  # of a map's mean: random weights, sums in another order (see benchmarks.pssl_rate.difference)


def pssl_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of each network of `benchmarks.pssl_rate`; AssertionError where a map is not the processor's."""
    from benchmarks.pssl_rate import NETS

    return [row for name in NETS for row in net_rows(name, rates)]


def net_rows(name: str, rates: Mapping[str, float]) -> list[Row]:
    """The rows of one network. A call makes PICTURES x COPIES passes; `us_a_frame` is of one pass."""
    from benchmarks.pssl_rate import flops

    images = pictures()
    off = apart(name, images, "cuda")
    if off > APART:
        raise AssertionError(f"{name}: the map is off the processor's by {off:.2g} of its mean")
    passes = PICTURES * COPIES
    operations = float(flops(_member(name))) * passes
    calls = contestants(name, images.to("cuda"), "cuda")
    rows = gpu_race(name, calls, rates, repeats=7, budget_s=5.0, frames=passes, flops=operations, errors={OURS: off})
    return [replace(row, extra={**row.extra, "passes_per_s": passes / row.ms_median * 1e3}) for row in rows]


def contestants(name: str, images: Any, device: str, copies: int = COPIES) -> dict[str, Call]:
    """The calls by their names; `images` lie on the device."""
    from benchmarks.pssl_rate import captum_map

    names = [str(i) for i in range(len(images))]
    kinds = {OURS: ("bf16", False), "bf16 compiled": ("bf16", True), "float32": ("float32", False)}
    smoothers = {key: _smoother(name, device, *kind) for key, kind in kinds.items()}
    calls: dict[str, Call] = {
        key: partial(_sums, smoother, images, [3] * len(images), names, range(copies))
        for key, smoother in smoothers.items()
    }
    member = _member(name)
    member.net.to(device)
    inputs = member.inputs(images)
    return calls | {"captum": lambda number: captum_map(member, inputs, copies, None)}


def _sums(smoother: Any, images: Any, classes: list[int], names: list[str], copies: range, number: int) -> Any:
    return smoother.sums(images, classes, names, copies)


def apart(name: str, images: Any, device: str) -> float:
    """The mean difference of the device's map without noise from the processor's, in float32, over its mean."""
    one, two = (_smoother(name, each, "float32", False, 0.0) for each in ("cpu", device))
    first = one.sums(images[:1], [3], ["0"], range(1)).maps
    second = two.sums(images[:1].to(device), [3], ["0"], range(1)).maps.cpu()
    return float((first - second).abs().mean() / first.mean())


def pictures() -> Any:
    """PICTURES random ones, (N, 3, SIZE, SIZE) uint8, on the processor."""
    import torch

    from benchmarks.pssl_rate import SIZE

    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (PICTURES, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def _member(name: str) -> Any:
    import torch

    from benchmarks.pssl_rate import NETS, SIZE
    from fastseg.labels.pssl_member import Member

    torch.manual_seed(0)
    return Member(name, NETS[name]().eval(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), SIZE)


def _smoother(name: str, device: str, precision: str, compiled: bool, sigma: float = 0.1) -> Any:
    from fastseg.labels.pssl import DTYPES
    from fastseg.labels.pssl_config import PSSLConfig
    from fastseg.labels.pssl_gradients import Smoother
    from fastseg.labels.pssl_member import prepared

    ready = prepared(_member(name), device, DTYPES[precision])
    memory_mb = MEMORY_MB if device == "cuda" else 2048
    return Smoother(ready, sigma, "probability", 0, memory_mb, PSSLConfig().most(device), compiled)
