"""The training loop: the same for every method, resumable to the bit, never fed a non-finite number."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastseg.data.augment import Normalisation
from fastseg.data.batches import Batch
from fastseg.distributed import Group
from fastseg.journal import Journal
from fastseg.losses import labelled_mass
from fastseg.methods import Method
from fastseg.optim import optimiser, rate
from fastseg.stop import StopRequest

PATIENCE = 10
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Run:
    """What changes while a network trains."""

    method: Method
    net: nn.Module
    network: str
    normalisation: Normalisation
    group: Group
    weight: Tensor | None
    step: int = 0
    epoch: int = 0
    skipped: int = 0
    bad: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return self.group.device

    def __post_init__(self) -> None:
        self.precision = chosen_precision(self.method.loop.precision, self.device)
        # Channels last: steps 0 to 14 % faster on a CPU, by network, and what tensor cores want.
        self.net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimiser(self.net, self.method.optim)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def autocast(self) -> torch.autocast:
        """The context in which the network computes."""
        dtype = DTYPES.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


def chosen_device(name: str) -> torch.device:
    """The device by name; auto = a GPU where there is one. ValueError when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is auto, cpu, cuda or cuda:N; got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name} was asked for, but torch sees no GPU here")
    return device


def chosen_precision(name: str, device: torch.device) -> str:
    """float32, bf16 or fp16; auto = bf16 on a GPU, float32 on a CPU."""
    if name == "auto":
        return "bf16" if device.type == "cuda" else "float32"
    return name


def take_step(run: Run, batch: Batch) -> dict[str, float]:
    """The figures of one step: loss, grad_norm, lr, skipped (1 when a non-finite loss or gradient was left out).

    A skipped step changes no weight, no batch statistic and no momentum.
    """
    method, optimizer, scaler = run.method, run.optimizer, run.scaler
    seed_step(method.seed, batch.step, run.group.rank)
    lr = rate(batch.step, method.steps, method.optim)
    for group in optimizer.param_groups:
        group["lr"] = lr
    run.net.train()
    statistics = [buffer.clone() for buffer in run.net.buffers()]
    optimizer.zero_grad(set_to_none=True)
    images = run.normalisation(batch.images.to(run.device, non_blocking=True)).to(memory_format=torch.channels_last)
    labels = batch.labels.to(run.device, non_blocking=True)
    with run.autocast():
        loss = method.loss(run.net, images, labels, run.weight) * _part(run, labels)
    torch.autograd.backward(scaler.scale(loss))
    run.group.add_gradients(run.net)
    loss = run.group.total(loss)
    scaler.unscale_(optimizer)
    norm = _clip(run.net, method.optim.clip)
    finite = bool(torch.isfinite(loss) & torch.isfinite(norm))
    if finite:
        scaler.step(optimizer)
    else:
        with torch.no_grad():
            for buffer, kept in zip(run.net.buffers(), statistics, strict=True):
                buffer.copy_(kept)
    scaler.update()
    return {"loss": float(loss.detach()), "grad_norm": float(norm), "lr": lr, "skipped": float(not finite)}


def _part(run: Run, labels: Tensor) -> Tensor | float:
    """This process's part of the whole batch's loss: its mass of labels over that of all processes."""
    if run.group.world == 1:
        return 1.0
    mass = labelled_mass(labels, run.weight)
    return mass / run.group.total(mass).clamp_min(torch.finfo(torch.float32).tiny)


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """None; dropout in this step depends on (seed, step, rank) alone."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _clip(net: nn.Module, limit: float) -> Tensor:
    """The gradient's L2 norm before it was scaled down to `limit` (0 = left alone)."""
    parameters = [parameter for parameter in net.parameters() if parameter.grad is not None]
    return nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else float("inf"))


def train_steps(
    run: Run,
    stream: Iterator[Batch],
    journal: Journal,
    save: Callable[[], None],
    score: Callable[[], dict[str, Any]] | None,
) -> int:
    """The exit code: 0 done, 1 ten non-finite steps in a row, 128 + signal when told to stop (saved first)."""
    loop = run.method.loop
    with StopRequest() as stop, closing(stream):  # type: ignore[type-var]
        waited, since, images = 0.0, time.perf_counter(), 0
        while run.step < run.method.steps:
            asked = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - asked
            figures = take_step(run, batch)
            run.step, run.epoch = batch.step + 1, batch.epoch
            images += len(batch.ids) * run.group.world
            if not _watch(run, batch, bool(figures.pop("skipped")), journal):
                return 1
            journal.advance(run.step)
            if run.step % loop.log_every == 0 or run.step == run.method.steps:
                passed = time.perf_counter() - since
                _log(run, journal, figures, images / passed, waited / passed)
                waited, since, images = 0.0, time.perf_counter(), 0
            if score and (run.step % loop.eval_every == 0 or run.step == run.method.steps):
                journal.write({"step": run.step, "epoch": run.epoch, **score()})
            told = run.group.largest(stop.signal)
            if run.step % loop.save_every == 0 or run.step == run.method.steps or told:
                save()
            if told and run.step < run.method.steps:
                name = signal.Signals(told).name
                journal.say(f"stopped by {name} after step {run.step}; --resume goes on from here")
                return 128 + told
    return 0


def _log(run: Run, journal: Journal, figures: dict[str, float], images_per_s: float, waiting: float) -> None:
    speed = {"images_per_s": round(images_per_s, 2), "data_wait": round(waiting, 4)}
    journal.write({"step": run.step, "epoch": run.epoch, **figures, **speed, "skipped": run.skipped})
    final = run.step == run.method.steps
    journal.show(run.step, f"loss {figures['loss']:.4f}, {images_per_s:.1f} images/s", final)


def _watch(run: Run, batch: Batch, skipped: bool, journal: Journal) -> bool:
    """Whether to go on: ten non-finite steps in a row end the run, their images' ids written down."""
    if not skipped:
        run.bad.clear()
        return True
    run.skipped += 1
    run.bad.append((batch.step, tuple(name for ids in run.group.everyones(batch.ids) for name in ids)))
    if len(run.bad) < PATIENCE:
        return True
    path = run.method.out / "nonfinite.json"
    if run.group.first:
        path.write_text(json.dumps([{"step": step, "ids": ids} for step, ids in run.bad], indent=1) + "\n")
    journal.say(
        f"stopped: the loss or its gradient was not finite {PATIENCE} steps in a row; the weights were left as they "
        f"were before; the images are named in {path}; a lower --optim.lr may help"
    )
    return False
