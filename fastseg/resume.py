"""A run's place on disk: starting it, saving it, going on with it, and refusing to go on with another one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastseg.averaging import RAW
from fastseg.checkpoint import Checkpoint, CheckpointError, Record, latest, save
from fastseg.data.places import STORE
from fastseg.frames import LabelledImages
from fastseg.journal import scored
from fastseg.methods import Method, parse_size
from fastseg.optim import restore, state_tensors
from fastseg.same_config import defaults, differing

if TYPE_CHECKING:
    from fastseg.loop import Run

BESIDE = (
    "regulariser."  # before a key: a part that training alone uses, saved as training state and not with the weights
)
# What may differ between a run and its continuation without changing one bit of the weights.
FREE = {
    "out",
    "resume",
    *(
        f"loop.{key}"
        for key in ("device", "workers", "threads", "save_every", "log_every", "eval_every", "eval_split", "track")
    ),
}


def plain_config(method: Method) -> dict[str, Any]:
    """The configuration as JSON takes it, folders absolute."""
    fields = asdict(method)  # type: ignore[call-overload]
    fields["root"] = absolute(method.root)
    plain: dict[str, Any] = json.loads(json.dumps(fields, default=lambda path: str(Path(path).absolute())))
    return plain


def absolute(root: str | Path) -> str:
    """A data set's root as it is found from any folder: a local one absolute, one in a store as it stands."""
    return str(root) if STORE.match(str(root)) else str(Path(root).absolute())


def data_fingerprint(examples: LabelledImages) -> str:
    """The SHA-256 (hex) of a set's ids, classes and, where it has one, its own fingerprint."""
    own = getattr(examples, "metadata", {}).get("fingerprint", "")
    return hashlib.sha256(json.dumps([examples.ids(), list(examples.class_names), own]).encode()).hexdigest()


def earlier(method: Method) -> Checkpoint | None:
    """The checkpoint to go on from, None to begin. ValueError: a run is there, and no --resume."""
    if method.resume:
        found = latest(method.out, state=True)
        if found is None:
            print(f"no checkpoint in {method.out} to resume; beginning at step 0", flush=True)
        return found
    try:
        there = latest(method.out)
    except CheckpointError:
        there = None
        if any(method.out.glob("checkpoint-*")):
            raise
    if there is not None:
        raise ValueError(f"{method.out} already holds {there.path.name}; give --resume to go on, or another --out")
    return None


def check_same(method: Method, found: Checkpoint, fingerprint: str) -> None:
    """None; ValueError naming the key that differs from the run that the checkpoint is of.

    A key that one of them lacks counts as its default: a version of fastseg that adds one resumes older runs.
    """
    fixed = method.optim.schedule == "constant" or method.optim.step_at
    free = FREE | ({"steps"} if fixed else set())
    for key, was, now in differing(found.record.config, plain_config(method), free, defaults(type(method))):
        raise ValueError(f"cannot resume {found.path}: {key} was {was!r} and is now {now!r}")
    if found.record.method != method.name:
        raise ValueError(f"cannot resume {found.path}: it is of method {found.record.method}, not {method.name}")
    if found.record.progress["data"] != fingerprint:
        raise ValueError(
            f"cannot resume {found.path}: the data set's images or classes are not the ones it was trained on"
        )


def go_on(run: Run, found: Checkpoint) -> None:
    """None; the run is as it was when the checkpoint was saved."""
    beside = {key: value for key, value in found.state.items() if key.startswith(BESIDE)}
    weights = found.weights | beside
    run.net.load_state_dict(weights)
    run.normalisation = found.record.normalisation
    if run.mean is not None:
        run.mean.restore(weights, found.state)
    restore(run.optimizer, {key: value for key, value in found.state.items() if not key.startswith((RAW, BESIDE))})
    run.step, run.epoch = found.record.step, found.record.epoch
    run.skipped = found.record.progress["skipped"]
    owed = bool(found.record.progress.get("unscored", False))
    run.unscored = owed and not scored(run.method.out / "metrics.jsonl", run.step)  # a later start made up for it
    run.bad = [(step, tuple(ids)) for step, ids in found.record.progress["bad"]]
    if run.scaler.is_enabled():
        run.scaler.load_state_dict(dict(found.record.progress["scaler"]))


def save_run(run: Run, class_names: tuple[str, ...], fingerprint: str) -> Path:
    """The checkpoint folder of the run as it is now."""
    method = run.method
    bad = [[step, list(ids)] for step, ids in run.bad]
    progress = {"data": fingerprint, "skipped": run.skipped, "bad": bad, "scaler": run.scaler.state_dict()}
    progress["unscored"] = run.unscored
    record = Record(
        method.name,
        run.network,
        class_names,
        run.normalisation,
        parse_size(method.size),
        run.step,
        run.epoch,
        plain_config(method),
        progress,
        _versions(),
    )
    weights, raw = (run.net.state_dict(), {}) if run.mean is None else run.mean.split(run.net)
    beside = {key: weights[key] for key in weights if key.startswith(BESIDE)}
    alone = {key: value for key, value in weights.items() if key not in beside}
    return save(method.out, record, alone, state_tensors(run.optimizer) | raw | beside)


def _versions() -> dict[str, str]:
    import timm
    import torch

    return {"torch": torch.__version__, "timm": timm.__version__}
