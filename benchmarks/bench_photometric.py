"""Times `photometric_loss` beside its peers: `python -m benchmarks.bench_photometric [--json F] [--plot F]`.

Each contestant makes the loss map of a batch (`forward`), or that and the gradients of depth and poses
(`forward+backward`), from the same smooth pictures, depth and small motion. First ours must agree with the reference,
and eager and compile with ours; kornia's SSIM has Gaussian windows and its warp zeros outside, so that its figures are
of the same work but not of the same values. `error` is the 99.9 % quantile of |loss - ours|; `peak_mb` what one call
adds to the memory of a fresh process, results included.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.timing import OURS, Row, keep_rows, on_threads, one_thread, print_rows, race
from fastseg.cli import run

ROOT = Path(__file__).parent.parent
HEIGHT, WIDTH = 192, 640
# name -> SSIM window, source frames, auto-mask
FORMS: Mapping[str, tuple[str, int, bool]] = {
    "box3": ("box3", 1, False), "box3, 2 sources, min, automask": ("box3", 2, True), "gauss11": ("gauss11", 1, False),
}  # fmt: skip
PASSES = ("forward", "forward+backward")


@dataclass(frozen=True)
class Config:
    """What to measure."""

    frames: int = 12
    repeats: int = 21  # timed calls of each contestant
    budget_s: float = 12.0  # a contestant that has used this much sits out after three calls
    threads: tuple[int, ...] = (1, 2)
    memory: bool = True
    kornia: bool = True
    json: Path | None = None
    plot: Path | None = None


def inputs(sources: int, frames: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> tuple[Any, ...]:
    """target, sources, depth, intrinsics, poses: smooth pictures with grain, depths of 2 to 10 m, a small motion."""
    import torch
    from torch.nn.functional import interpolate

    made = torch.Generator().manual_seed(seed)

    def smooth(count: int, cell: int) -> Any:
        coarse = torch.rand(count, frames, height // cell + 2, width // cell + 2, generator=made)
        return interpolate(coarse, (height, width), mode="bilinear", align_corners=True).transpose(0, 1)

    target = (0.9 * smooth(3, 8) + 0.1 * torch.rand(frames, 3, height, width, generator=made)).contiguous()
    grain = torch.rand(frames, sources, 3, height, width, generator=made)
    depth = (2 + 8 * smooth(1, 32)[:, 0]).contiguous()
    intrinsics = torch.tensor([0.58 * width, 1.92 * height, 0.5 * width, 0.5 * height]).repeat(frames, 1)
    poses = torch.eye(4).repeat(frames, sources, 1, 1)
    poses[..., :3, 3] = torch.randn(frames, sources, 3, generator=made) * torch.tensor([0.1, 0.02, 0.3])
    poses[..., 0, 2], poses[..., 2, 0] = 0.01, -0.01
    return target, (0.95 * target[:, None] + 0.05 * grain).contiguous(), depth, intrinsics, poses


def ours(*given: Any, kind: Any, automask: bool) -> Any:
    from fastseg.ops.photometric import photometric_loss

    return photometric_loss(*given, ssim=kind, automask=automask)[0]


def contestants(kornia: bool) -> dict[str, Callable[..., Any]]:
    """Ours and the peers, by name."""
    from benchmarks.peers_photometric import losses

    return {OURS: ours, **{name: loss for name, loss in losses().items() if kornia or name != "kornia"}}


def forward(loss: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    """The loss map, nothing kept for a backward."""
    import torch

    with torch.no_grad():
        return loss(*given)


def both(loss: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The loss map, and the gradients of its mean for depth and poses."""
    import torch

    target, sources, depth, intrinsics, poses = given
    depth, poses = depth.detach().requires_grad_(), poses.detach().requires_grad_()
    found = loss(target, sources, depth, intrinsics, poses)
    return (found.detach(), *torch.autograd.grad(found.mean(), (depth, poses)))


def call(name: str, form: str, which: str, given: tuple[Any, ...], kornia: bool = True) -> Callable[[], Any]:
    """One contestant's call on one case."""
    kind, _, automask = FORMS[form]
    loss = partial(contestants(kornia)[name], kind=kind, automask=automask)
    return partial(forward if which == "forward" else both, loss, given)


def check(form: str) -> None:
    """AssertionError unless ours agrees with the reference on a small batch, gradients too."""
    import torch

    from fastseg.reference import photometric as reference

    kind, sources, automask = FORMS[form]
    given = inputs(sources, 2, 48, 80)

    def slow(target: Any, frames: Any, depth: Any, intrinsics: Any, poses: Any) -> Any:
        places = [reference.positions(depth, intrinsics, poses[:, s]) for s in range(sources)]
        return reference.loss(target, frames, places, kind=kind, automask=automask)[0]

    exact = both(slow, tuple(tensor.double() for tensor in given))
    for found, wanted in zip(both(partial(ours, kind=kind, automask=automask), given), exact, strict=True):
        apart = (found - wanted).abs().flatten().quantile(0.99)  # single pixels stand at a kink of |x| or of bilinear
        if apart > 1e-3 * wanted.abs().max():
            raise AssertionError(f"{form}: ours and the reference differ by {float(apart):.3g}")
    torch.testing.assert_close(
        slow(*given), forward(partial(ours, kind=kind, automask=automask), given), atol=1e-3, rtol=0
    )


def errors(form: str, names: list[str], given: tuple[Any, ...]) -> dict[str, float]:
    """Each contestant's loss against ours; AssertionError where eager or compile differ."""
    import torch

    wanted = call(OURS, form, "forward", given)()
    found = {}
    for name in names:
        apart = (call(name, form, "forward", given)() - wanted).abs().flatten()[::7]
        found[name] = float(torch.quantile(apart, 0.999))
        if found[name] > 1e-3 and name != "kornia":
            raise AssertionError(f"{form}: {name} and ours differ by {found[name]:.3g}")
    return found


def memory(name: str) -> int:
    """A line of this process's status in bytes, as Linux counts them."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(match[1]) if match else 0


def peak_here(name: str, form: str, which: str, frames: int) -> float:
    """Megabytes that one call adds to this process at most; a call on a single frame loads and compiles before."""
    given = inputs(FORMS[form][1], frames)
    with on_threads(1):
        one = call(name, form, which, given if name == "compile" else inputs(FORMS[form][1], 1))
        one()
        again = one if name == "compile" else call(name, form, which, given)
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
        before = memory("VmRSS")
        kept = again()
        assert kept is not None
        return (memory("VmHWM") - before) / 1e6


def peaks(form: str, which: str, names: list[str], frames: int) -> dict[str, dict[str, float]]:
    """`peak_mb` of each contestant, every one in a fresh process that gives back what it frees."""
    found = {}
    for name in names:
        code = "from benchmarks.bench_photometric import peak_here\n"
        code += f"print('MB', peak_here({name!r}, {form!r}, {which!r}, {frames}))"
        environment = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True,
            env={**_environment(), **environment},
        )  # fmt: skip
        found[name] = {"peak_mb": round(float(done.stdout.rpartition("MB")[2]), 1)}
    return found


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def rows_of(form: str, config: Config) -> list[Row]:
    """The rows of one form: forward, and with backward, on each number of threads."""
    check(form)
    given = inputs(FORMS[form][1], config.frames)
    names = list(contestants(config.kornia))
    apart = errors(form, names, given)
    rows = []
    for which in PASSES:
        extra = peaks(form, which, names, config.frames) if config.memory and form == "box3" else {}
        calls = {name: call(name, form, which, given) for name in names}
        for threads in config.threads:
            rows += race(
                f"{config.frames}x3x{HEIGHT}x{WIDTH} {form} {which}", calls, threads=threads, repeats=config.repeats,
                budget_s=config.budget_s, errors=apart, extra=extra,
            )  # fmt: skip
    return rows


def main(config: Config) -> int:
    """0 after printing (and writing) every case; AssertionError when a contestant's values are wrong."""
    rows: list[Row] = []
    for form in FORMS:
        made = rows_of(form, config)
        print_rows(made)
        rows += made
        keep_rows("photometric", rows, config.json, config.plot)
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
