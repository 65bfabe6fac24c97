"""Train over a Ray cluster, the same loop: `python -m pipelines.train_on_ray segment --workers 2 --root ... --out ...`.

Ray Train starts the processes and their process group; what each does is `fastseg.train.fit`, as under torchrun. A
worker that dies takes the others with it, and all begin again at the last checkpoint, `max_failures` times. `--root`
and `--out` must lie where every node sees them; fastseg is installed on every node.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fastseg.cli import run
from fastseg.methods import Method
from fastseg.train import METHODS, Trained, in_stages

RUN = ".ray"  # in the run's folder, while it trains: what Ray Train notes of it
MISTAKE = "mistake.txt"  # there: the sentence of a mistake that one worker alone found
TIMEOUT_S = 600


@dataclass(frozen=True)
class OnRay:
    """Where to train; all other options are the method's.

    workers           processes that train, which share every batch
    gpus_per_worker   of each process; 0 = the CPU
    cpus_per_worker   set aside for each process
    address           a running cluster, as in auto or ray://head:10001; empty = a Ray of this machine, for this run
    max_failures      how often to go on from the last checkpoint when a worker dies
    """

    workers: int = 2
    gpus_per_worker: float = 0.0
    cpus_per_worker: int = 1
    address: str = ""
    max_failures: int = 2

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus_per_worker", 1), ("gpus_per_worker", 0), ("max_failures", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}; got {getattr(self, name)}")


@dataclass(frozen=True)
class Outcome:
    """How a worker's training ended: its exit code, and the sentence of a user's mistake."""

    code: int
    sentence: str = ""


def main(on: OnRay, method: Trained) -> int:
    """The exit code of training with `method` over Ray: that of `fastseg.train.fit`; stage by stage, as there.

    ValueError: a mistake that the workers found. RankLostError: workers died more than `max_failures` times.
    """
    return in_stages(_placed(on, method), lambda stage: _one(on, stage))


def _one(on: OnRay, method: Method) -> int:
    """The exit code of one stage."""
    from fastseg.resume import earlier
    from pipelines.follow import followed
    from pipelines.ray_session import ray_session, slots

    earlier(method)  # a folder with a run in it is refused here, once
    with ray_session(on.workers * on.cpus_per_worker, on.address or None):
        there = slots(on.workers, 1, on.gpus_per_worker)
        if there < on.workers:
            raise ValueError(f"--workers {on.workers}: Ray has room for {there} here")
        shutil.rmtree(method.out / RUN, ignore_errors=True)  # of a driver that was killed: its mistake is not ours
        (method.out / RUN).mkdir(parents=True)
        try:
            with followed(method.out / "metrics.jsonl", method.name, method.steps):
                outcome = _trained(on, method)
        finally:
            shutil.rmtree(method.out / RUN, ignore_errors=True)
    if outcome.sentence:
        raise ValueError(outcome.sentence)
    return outcome.code


def _placed(on: OnRay, method: Trained) -> Trained:
    """The method as the workers take it: places that do not depend on where they run, and the device they have."""
    from fastseg.resume import absolute

    if on.gpus_per_worker == 0 and method.loop.device.startswith("cuda"):
        raise ValueError(f"--loop.device {method.loop.device} needs --gpus-per-worker 1")
    device = "cuda" if on.gpus_per_worker and method.loop.device == "auto" else method.loop.device
    loop = replace(method.loop, device="cpu" if device == "auto" else device)
    begun = method.init_from
    if begun and Path(begun).exists():
        begun = str(Path(begun).absolute())
    out = method.out.absolute()
    return replace(method, root=absolute(method.root), out=out, init_from=begun, loop=loop)


def _trained(on: OnRay, method: Method) -> Outcome:
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from fastseg.distributed import RankLostError

    each: dict[str, float] = {"CPU": on.cpus_per_worker}
    if on.gpus_per_worker:
        each["GPU"] = on.gpus_per_worker
    storage: Any = RunConfig
    failures = FailureConfig(max_failures=on.max_failures)
    trainer: Any = TorchTrainer(
        work,  # type: ignore[arg-type]  # Ray's annotations are of its older interface, here and of RunConfig
        train_loop_config={"method": method},
        torch_config=TorchConfig(backend="nccl" if on.gpus_per_worker else "gloo", timeout_s=TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=on.workers, use_gpu=bool(on.gpus_per_worker), resources_per_worker=each
        ),
        run_config=storage(
            name="run", storage_path=str(method.out / RUN), failure_config=failures,
            logging_config=LoggingConfig("ERROR"),
        ),
    )  # fmt: skip
    try:
        found = trainer.fit().return_value
    except TrainingFailedError as error:
        often = f"{on.max_failures + 1} times" if on.max_failures else "once"
        reason = " ".join(_cause(error).split())[:300]
        raise RankLostError(
            f"the workers failed {often} ({reason}); --resume goes on from the last checkpoint"
        ) from error
    if not isinstance(found, Outcome):
        raise RankLostError("the workers ended without a word; --resume goes on from the last checkpoint")
    return found


def _cause(error: Any) -> str:
    """What a worker said first, in a line: not Ray's account with its tracebacks."""
    failures = getattr(error, "worker_failures", None) or {0: getattr(error, "controller_failure", error)}
    inner = next(iter(failures.values()))
    lines = [line for line in str(getattr(inner, "_base_exc", inner)).splitlines() if line.strip()]
    return lines[0] if lines else type(inner).__name__


def work(config: dict[str, Any]) -> Outcome:
    """How training ended in this worker; runs in each of Ray Train's workers."""
    import torch.distributed as dist

    from fastseg.distributed import RankLostError
    from fastseg.train import fit

    method: Method = replace(config["method"], resume=True)  # after a failure, from the last checkpoint
    mistake = method.out / RUN / MISTAKE
    try:
        return Outcome(fit(method, method.examples(), method.validation()))
    except RankLostError:
        time.sleep(1.0)
        if mistake.exists():
            return Outcome(2, mistake.read_text())
        raise  # another worker died: Ray Train begins again
    except (ValueError, OSError, ImportError) as error:
        sentence = " ".join(str(error).split())
        mistake.write_text(sentence)
        if dist.is_initialized():
            dist.destroy_process_group()  # the others, at their next exchange, see that this one is gone
        return Outcome(2, sentence)


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m pipelines.train_on_ray METHOD ...`: OnRay's fields, and those of the method."""
    words = list(sys.argv[1:] if argv is None else argv)
    method, prog = METHODS.get(words[0]) if words else None, "python -m pipelines.train_on_ray"
    asked = any(word in ("-h", "--help") for word in words)
    if method is None:
        usage = f"usage: {prog} {'|'.join(METHODS)} [--workers N] [--help] ..."
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    prog = f"{prog} {words[0]}"
    if asked:
        with suppress(SystemExit):
            run(OnRay, lambda on: 0, ["--help"], prog=prog)
        return run(method, lambda config: 0, ["--help"], prog=prog)
    ours, theirs = divided(words[1:])
    return run(OnRay, lambda on: run(method, lambda config: main(on, config), theirs, prog=prog), ours, prog=prog)


def divided(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are OnRay's options with their values, and all others; --debug is both's."""
    names = {field.name for field in fields(OnRay)}
    ours: list[str] = []
    theirs: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.removeprefix("--").partition("=")
        mine = word.startswith("--") and name.replace("-", "_") in names
        (ours if mine else theirs).append(word)
        if word == "--debug":
            ours.append(word)
        if mine and not equals and rest:
            ours.append(rest.pop(0))
    return ours, theirs


if __name__ == "__main__":
    sys.exit(cli())
