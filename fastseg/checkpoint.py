"""Checkpoints: a folder a step, checksummed, put in place by one rename; the last good one always survives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastseg.data.augment import Normalisation
from fastseg.data.places import made_durable
from fastseg.tensors import Tensor

FORMAT = 1
RECORD, WEIGHTS, STATE, LATEST = "checkpoint.json", "model.safetensors", "state.safetensors", "latest"
KEEP = 2


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the sentence names the file."""


@dataclass(frozen=True)
class Record:
    """What stands in checkpoint.json beside the checksums.

    method          the method that trained it (hn, segment, classify)
    network         its name, as `build_network` takes it
    classes         the class names, in label order
    size            (height, width) of the training images
    config          the resolved configuration, nested as the dataclass is
    progress        scalars of the run that resuming needs (optimiser, loss scaling, data fingerprint)
    """

    method: str
    network: str
    classes: tuple[str, ...]
    normalisation: Normalisation
    size: tuple[int, int]
    step: int
    epoch: int
    config: Mapping[str, Any]
    progress: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back: its folder, record, weights (the network's state dict) and training state."""

    path: Path
    record: Record
    weights: dict[str, Tensor]
    state: dict[str, Tensor]


def save(out: Path, record: Record, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Path:
    """The folder OUT/checkpoint-<step> written, after which `latest` names it and all but the last two are gone.

    Written under a temporary name, each file and the folder fsynced, renamed; a kill at any moment, or a full disk,
    leaves the previous checkpoint and `latest` as they were. OSError names the checkpoint's folder.
    """
    final = out / f"checkpoint-{record.step}"
    temp = out / f".{final.name}.{os.getpid()}.tmp"
    _sweep(out)
    temp.mkdir(parents=True)
    try:
        sums = {name: _write_tensors(temp / name, part) for name, part in ((WEIGHTS, weights), (STATE, state))}
        _write(temp / RECORD, _record_bytes(record, sums))
        made_durable(temp)
        if final.exists():
            shutil.rmtree(final)
        os.rename(temp, final)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(final)) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    made_durable(out)
    _point(out, final.name)
    earlier = [folder for step, folder in _folders(out) if step < record.step][: KEEP - 1]
    for _, other in _folders(out):  # older ones, and those of a damaged future that the run fell back from
        if other not in (final, *earlier):
            shutil.rmtree(other)
    return final


def load(path: Path, state: bool = False) -> Checkpoint:
    """The checkpoint at `path`: a checkpoint-<step> folder, or a run's folder, whose last good checkpoint it is.

    state    read the training state too (resuming needs it, evaluation does not)

    CheckpointError: nothing there, or a part that is missing, changed or not fastseg's, by its file.
    """
    if (path / RECORD).is_file() or path.name.startswith("checkpoint-"):
        return _read(path, state)
    found = latest(path, state)
    if found is None:
        raise CheckpointError(f"no checkpoint in {path}; a run's folder or one of its checkpoint-<step> was expected")
    return found


def latest(out: Path, state: bool = False) -> Checkpoint | None:
    """The checkpoint that OUT/latest names; if that one is damaged, the newest good one (and a line says so).

    None when the folder holds no checkpoint at all. CheckpointError when none of those it holds is good.
    """
    folders = [folder for _, folder in _folders(out)]
    named = _named(out)
    order = [folder for folder in folders if folder.name == named] + [f for f in folders if f.name != named]
    errors: list[CheckpointError] = []
    for folder in order:
        try:
            found = _read(folder, state)
        except CheckpointError as error:
            errors.append(error)
            continue
        if errors:
            print(f"{errors[0]}; going back to {found.path}", flush=True)
        return found
    if errors:
        raise errors[0]
    return None


def _read(folder: Path, state: bool) -> Checkpoint:
    record, sums = _read_record(folder / RECORD)
    weights = _read_tensors(folder / WEIGHTS, sums)
    return Checkpoint(folder, record, weights, _read_tensors(folder / STATE, sums) if state else {})


def _folders(out: Path) -> list[tuple[int, Path]]:
    """The checkpoint folders of a run, newest first."""
    steps = ((path.name.removeprefix("checkpoint-"), path) for path in out.glob("checkpoint-*") if path.is_dir())
    return sorted(((int(step), path) for step, path in steps if step.isdecimal()), reverse=True)


def _named(out: Path) -> str:
    try:
        return (out / LATEST).read_text(errors="replace").strip()
    except OSError:
        return ""


def _point(out: Path, name: str) -> None:
    temp = out / f".{LATEST}.{os.getpid()}.tmp"
    _write(temp, name.encode() + b"\n")
    os.rename(temp, out / LATEST)
    made_durable(out)


def _sweep(out: Path) -> None:
    """Remove what a killed save left; one run writes to a folder at a time."""
    for stale in [*out.glob(".checkpoint-*.tmp"), *out.glob(f".{LATEST}.*.tmp")]:
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the safetensors file written."""
    from safetensors.torch import save as serialise

    content = serialise({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    _write(path, content)
    return hashlib.sha256(content).hexdigest()


def _read_tensors(path: Path, sums: Mapping[str, str]) -> dict[str, Tensor]:
    """Read whole, not mapped: a file that shrinks while mapped would kill the process."""
    from safetensors.torch import load as parse

    content = _bytes(path)
    if hashlib.sha256(content).hexdigest() != sums.get(path.name):
        raise CheckpointError(f"{path} is damaged: its checksum is not the one in {RECORD}")
    return parse(content)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _record_bytes(record: Record, sums: Mapping[str, str]) -> bytes:
    """checkpoint.json, one spelling for one content, its own checksum included: any changed byte shows."""
    plain = {
        "format": FORMAT,
        **vars(record),
        "normalisation": vars(record.normalisation),
        "sha256": dict(sums),
    }
    digest = hashlib.sha256(_canonical(plain)).hexdigest()
    return _canonical({**plain, "sha256": {**sums, RECORD: digest}})


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def _read_record(path: Path) -> tuple[Record, dict[str, str]]:
    content = _bytes(path)
    damaged = CheckpointError(f"{path} is damaged: its checksum does not fit its content")
    try:
        plain = json.loads(content)
        sums = plain["sha256"]
        digest = sums.pop(RECORD)
        body = _canonical(plain)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None
    if hashlib.sha256(body).hexdigest() != digest or content != _canonical(
        {**plain, "sha256": {**sums, RECORD: digest}}
    ):
        raise damaged
    if plain.pop("format") != FORMAT:
        raise CheckpointError(f"{path} is of another format than this version's ({FORMAT})")
    del plain["sha256"]
    normalisation = plain.pop("normalisation")
    triples = Normalisation(tuple(normalisation["mean"]), tuple(normalisation["std"]))
    height, width = plain.pop("size")
    classes = tuple(plain.pop("classes"))
    return Record(classes=classes, normalisation=triples, size=(height, width), **plain), sums
