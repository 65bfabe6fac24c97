"""The training loop: the same for every method, resumable to the bit, never fed a non-finite number."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastseg.averaging import RunningMean
from fastseg.data.augment import Normalisation
from fastseg.data.batches import Batch
from fastseg.distributed import Group
from fastseg.journal import Journal
from fastseg.losses import labelled_mass
from fastseg.methods import Method
from fastseg.nets import CrossStitch
from fastseg.optim import clip, gradient_norm, optimiser, rate, set_rate
from fastseg.speed import Meter
from fastseg.stop import Stopped, StopRequest

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
    unscored: bool = False
    bad: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.precision = chosen_precision(self.method.loop.precision, self.device)
        # Channels last: steps 0 to 14 % faster on a CPU, by network, and what tensor cores want.
        self.net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimiser(self.net, self.method.optim)
        self.mean = RunningMean(self.net, self.method.optim.ema) if self.method.optim.ema else None
        self.loss = torch.compile(self.method.loss) if self.method.loop.compile else self.method.loss
        self._statistics = [buffer.clone() for buffer in self.net.buffers()]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.group.device

    def autocast(self) -> torch.autocast:
        """The context in which the network computes."""
        dtype = DTYPES.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def best(self) -> AbstractContextManager[None]:
        """The context in which the network has the weights to use: their running mean, where one is kept."""
        return nullcontext() if self.mean is None else self.mean.inside()

    @torch.no_grad()
    def keep_statistics(self) -> None:
        """None; the batch statistics are kept as they are now (one call for all of them: there are hundreds)."""
        if self._statistics:  # a network of layer norms has none
            torch._foreach_copy_(self._statistics, list(self.net.buffers()))

    @torch.no_grad()
    def drop_statistics(self) -> None:
        """None; the batch statistics are those kept."""
        if self._statistics:
            torch._foreach_copy_(list(self.net.buffers()), self._statistics)


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
    optim = run.method.optim
    seed_step(run.method.seed, batch.step, run.group.rank)
    lr = rate(batch.step, run.method.steps, optim)
    set_rate(run.optimizer, lr)
    if not run.net.training:
        run.net.train()
    run.keep_statistics()
    run.optimizer.zero_grad(set_to_none=True)
    loss = run.group.total(add_gradients(run, batch))
    run.group.sum_gradients(run.net)
    run.scaler.unscale_(run.optimizer)
    norm = gradient_norm(run.net)
    value, length = torch.stack([loss, norm]).tolist()  # a GPU is waited for here, and nowhere else
    finite = math.isfinite(value) and math.isfinite(length)
    if finite:
        clip(run.net, norm, length, optim.clip)
        run.scaler.step(run.optimizer)
        if run.mean is not None:
            run.mean.update(run.step - run.skipped)
    else:
        run.drop_statistics()
    run.scaler.update()
    return {"loss": value, "grad_norm": length, "lr": lr, "skipped": float(not finite)}


def add_gradients(run: Run, batch: Batch) -> Tensor:
    """The loss of a batch, a detached scalar, whose gradient (scaled by the scaler) is added to the parameters'.

    The batch goes through the network in optim.accumulate parts; each part's mean over its labelled pixels counts by
    their share of the whole batch's, that of all processes: summed over parts and processes, loss and gradient are the
    whole batch's. Batch normalisation sees a part at a time, of all processes.
    """
    count = run.method.optim.accumulate
    labels = batch.labels.to(run.device, non_blocking=True).tensor_split(count)
    total = torch.zeros((), device=run.device)
    counts = shares(labels, run.weight, run.group)
    for scene, part, share in zip(batch.scene.parts(count, run.device), labels, counts, strict=True):
        seen = run.normalisation(scene.images).to(memory_format=torch.channels_last)
        with run.autocast(), large_enough(len(seen)):
            loss = run.loss(run.net, seen, part, run.weight, scene)
        loss = loss if share is None else loss * share
        torch.autograd.backward(run.scaler.scale(loss))
        total += loss.detach()
    return total


@contextmanager
def large_enough(images: int) -> Iterator[None]:
    """A context in which a batch that batch normalisation cannot take, one value a channel, is told as such."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"this network's batch normalisation needs more than {images} image at a time; give a larger --batch, "
            "a smaller --optim.accumulate or a larger --size"
        ) from error


def shares(parts: Sequence[Tensor], weight: Tensor | None, group: Group) -> list[Tensor | None]:
    """What each part of a batch's labels counts, scalars; None = all.

    Those of all processes sum to 1 (0 where nothing is labelled).
    """
    if len(parts) == group.world == 1:
        return [None]
    masses = torch.stack([labelled_mass(part, weight) for part in parts])
    return list(masses / group.total(masses.sum()).clamp_min(torch.finfo(masses.dtype).tiny))


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """None; dropout in this step depends on (seed, step, rank) alone."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def train_steps(
    run: Run,
    stream: Iterator[Batch],
    journal: Journal,
    save: Callable[[], None],
    score: Callable[[StopRequest], dict[str, Any]] | None,
) -> int:
    """The exit code: 0 done, 1 ten non-finite steps in a row, 128 + signal when told to stop (saved first).

    A stop waits for the step that is being computed, and for nothing else: neither for data nor for an evaluation,
    which the run makes up for when it goes on.
    """
    alone, saved, told = run.group.world == 1, run.step, 0
    with StopRequest() as stop, closing(stream):  # type: ignore[type-var]
        meter = Meter(run.device)
        if score and run.unscored:
            _score(run, journal, score, stop)
        while run.step < run.method.steps:
            try:
                with stop.at_once(alone), meter.waiting():
                    batch = next(stream)
            except Stopped:
                told = stop.signal
            else:
                if not _advance(run, batch, journal, meter):
                    return 1
                if score and _due(run, run.method.loop.eval_every):
                    _score(run, journal, score, stop)
                told = run.group.largest(stop.signal)
            if run.step > saved and (told or _due(run, run.method.loop.save_every)):
                save()
                saved = run.step
            if told and run.step < run.method.steps:
                break
        told = told or stop.signal * run.unscored
        if told and (run.unscored or run.step < run.method.steps):
            name = signal.Signals(told).name
            journal.say(f"stopped by {name} after step {run.step}; --resume goes on from here")
            return 128 + told
    return 0


def _due(run: Run, every: int) -> bool:
    return run.step % every == 0 or run.step == run.method.steps


def _advance(run: Run, batch: Batch, journal: Journal, meter: Meter) -> bool:
    """Whether to go on after the batch's step, which the journal was told of."""
    figures = take_step(run, batch)
    run.step, run.epoch = batch.step + 1, batch.epoch
    meter.seen(len(batch.ids) * run.group.world)
    if not _watch(run, batch, bool(figures.pop("skipped")), journal):
        return False
    journal.advance(run.step)
    if _due(run, run.method.loop.log_every):
        _log(run, journal, figures, meter.read())
    return True


def _score(run: Run, journal: Journal, score: Callable[[StopRequest], dict[str, Any]], stop: StopRequest) -> None:
    """None; the scores are written, or still to be made (run.unscored) where a stop was asked for meanwhile."""
    run.unscored = True
    try:
        found = score(stop)
    except Stopped:
        return
    run.unscored = False
    journal.write({"step": run.step, "epoch": run.epoch, **found})


def _log(run: Run, journal: Journal, figures: dict[str, float], speed: dict[str, float]) -> None:
    stitches = run.net.figures() if isinstance(run.net, CrossStitch) else {}
    journal.write({"step": run.step, "epoch": run.epoch, **figures, **stitches, **speed, "skipped": run.skipped})
    line = (
        f"loss {figures['loss']:.4f}, {speed['images_per_s']:.1f} images/s, "
        f"{speed['data_wait']:.0%} waiting for data, {speed['peak_memory_mb']:.0f} MB"
    )
    journal.show(run.step, line, final=run.step == run.method.steps)


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
