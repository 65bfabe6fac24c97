"""What a regulariser adds to a training step on a GPU: the paper's two networks at its size and batch, in bf16.

The contestant `fastseg` is the plain network; each `ratio_to_ours` is how much longer a step takes with that branch.
Networks and autoencoders are random: the cost does not depend on what they learned. The study itself, trainings of
these networks on CamVid, takes longer than all stages may: benchmarks/studies/structure_gpu.yaml.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.device_race import Call, gpu_race
from benchmarks.rows import OURS, Row
from benchmarks.structure_cost import Config, regularisers, step_of
from fastseg.methods import RegulariserConfig

NETWORKS = ("hypercolumn/vgg16", "hypercolumn/densenet67")
BATCH, SIZE = 12, "256x256"
APART = 1e-2  # of the loss: convolutions in TF32 keep 10 bits


def structure_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of each network; AssertionError where a first loss is not the processor's."""
    rows = []
    for network in NETWORKS:
        config = Config(network, SIZE, batch=BATCH)
        with tempfile.TemporaryDirectory() as folder:
            kinds = regularisers(config, Path(folder))
            errors = {_shown(name): apart(config, kind, "cuda") for name, kind in kinds.items()}
            calls = contestants(config, kinds, "cuda")
        title = f"{SIZE} {network}, batch {BATCH}"
        rows += gpu_race(title, calls, rates, repeats=15, budget_s=2.0, frames=BATCH, errors=errors)
    return rows


def contestants(config: Config, kinds: Mapping[str, RegulariserConfig], device: str) -> dict[str, Call]:
    """A step with each branch in bf16, by the name of its row."""
    steps = {_shown(name): step_of(config, kind, device, True) for name, kind in kinds.items()}
    return {name: _numbered(step) for name, step in steps.items()}


def _numbered(step: Callable[[], float]) -> Call:
    return lambda _: step()


def apart(config: Config, kind: RegulariserConfig, device: str) -> float:
    """The relative difference of a first loss, of two images in float32, from the processor's."""
    small = replace(config, batch=2)
    ours, exact = (step_of(small, kind, each)() for each in (device, "cpu"))
    found = abs(ours - exact) / abs(exact)
    assert found <= APART, (
        f"{config.network}, {kind.kind}: the first loss is {ours:.5g}, and on the processor {exact:.5g}"
    )
    return found


def _shown(name: str) -> str:
    return OURS if name == "none" else name
