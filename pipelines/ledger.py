"""What a run is and how far it came: the plan, its fingerprint, manifest, run.json, checksums. On any place."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.places import is_local, place, size_of, tag_of
from fastseg.data.run_check import MANIFEST, RUN, SUMS, digest_of
from fastseg.data.shard_check import file_sha256
from fastseg.data.shards import replace_file
from pipelines.retry import passing

SMALL = 4096  # bytes
FOLDERS = ("labels", "rejected")


class RefusedError(ValueError):
    """The output folder belongs to another run, or to a driver that is still at work; nothing was changed."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run's output.

    ids         sorted, unique
    inputs      for each id, a stamp of the files behind it (see `input_stamps`)
    config      the settings that change the output, flat, JSON values
    code        the code's version (see `code_version`)
    metadata    goes into every shard's footer (for HN labels: `hn` with bins and edges)
    shard_size  ids a shard
    """

    ids: tuple[str, ...]
    inputs: tuple[str, ...]
    config: dict[str, Any]
    code: str
    metadata: dict[str, Any]
    shard_size: int = 64

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError("there are no frames to label: the reader found none in its folder")
        if len(self.ids) != len(self.inputs) or self.shard_size < 1:
            raise ValueError("a plan needs one input stamp for each id and a shard size of at least 1")
        for before, after in zip(self.ids, self.ids[1:], strict=False):
            if before >= after:
                what = "is there twice" if before == after else f"comes after {before!r}"
                raise ValueError(f"frame ids must be unique and sorted; {after!r} {what}")
        for frame_id in self.ids:
            if not frame_id.isprintable():
                raise ValueError(f"frame id {frame_id!r} must be printable text; rename its files")

    def parts(self) -> dict[str, Any]:
        """The named parts of the fingerprint, as run.json keeps them."""
        return {
            "config": self.config | {"shard_size": self.shard_size},
            "code": self.code,
            "ids": digest_of(self.ids),
            "inputs": digest_of(self.inputs),
        }

    def fingerprint(self) -> str:
        """The SHA-256 (hex) of config, code version, ids and input stamps."""
        return digest_of([json.dumps(self.parts(), sort_keys=True)])

    def ranges(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Shard numbers with their ids: fixed ranges of the sorted ids, whoever works on them."""
        for start in range(0, len(self.ids), self.shard_size):
            yield start // self.shard_size, self.ids[start : start + self.shard_size]


def input_stamps(frames: Iterable[Iterable[str]], content: bool = False) -> tuple[str, ...]:
    """For each frame, what the files behind it are: sizes, `-` for a missing file, SHA-256s with `content`.

    Small local files (intrinsics, poses) always give their SHA-256: an edit of theirs may well keep the size. A
    store's file gives its size and the tag that the store keeps of it. Frames may share files: each is looked at once.
    """
    known: dict[str, str] = {}
    stamps = []
    for paths in frames:
        names = list(paths)
        known |= {path: _stamp(path, content) for path in names if path not in known}
        stamps.append("+".join(known[path] for path in names))
    return tuple(stamps)


def _stamp(name: str, content: bool) -> str:
    try:
        size, tag = size_of(name), tag_of(name)
        if content or (size <= SMALL and not tag):
            path = place(name)
            # A pipe or a device may never end: only a frame, which has a deadline, may read it.
            return "no file" if is_local(path) and not path.is_file() else file_sha256(path)
        return f"{size} {tag}".rstrip()
    except OSError as error:
        if passing(error):
            raise
        return "-"


def code_version(version: str, folders: Iterable[Path]) -> str:
    """The version with a digest of the Python, C++ and CUDA sources in `folders`: an edit between two runs shows."""
    kinds = (".py", ".h", ".cpp", ".cu")
    sources = sorted(path for folder in folders for path in folder.iterdir() if path.suffix in kinds)
    return f"{version}+{digest_of(path.read_text() for path in sources)[:12]}"


def fresh(path: Path) -> Path:
    """The path, a listing of it that a store's client may remember forgotten: others write there too."""
    if not is_local(path):
        cast(Any, path).fs.invalidate_cache()
    return path


def read_run(out: Path) -> dict[str, Any] | None:
    """What run.json says, or None when there is none; RefusedError when it cannot be read."""
    path = out / RUN
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        run: dict[str, Any] = json.loads(text)
        keys = {"fingerprint", "parts", "started", "finished", *(("counts",) if run["finished"] else ())}
        nested = {"parts": {"config", "code", "ids", "inputs"}, "counts": {"frames", "labels", "rejected"}}
        for known, wanted in ((run, keys), *((run[name], nested[name]) for name in nested if name in keys)):
            if lost := sorted(wanted - known.keys()):
                raise KeyError(lost[0])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RefusedError(f"{path} is damaged ({why}); choose another --out or restore it") from error
    return run


def write_run(out: Path, run: dict[str, Any]) -> None:
    replace_file(out / RUN, (json.dumps(run, indent=2, sort_keys=True) + "\n").encode())


def check_same_run(out: Path, plan: Plan) -> dict[str, Any] | None:
    """The earlier run.json of the same run, or None for a fresh folder; RefusedError names what differs."""
    run = read_run(out)
    if run is None:
        if any(fresh(out / "labels").glob("*.parquet")):
            raise RefusedError(f"{out} holds label shards but no {RUN}; choose another --out")
        return None
    if run["fingerprint"] == plan.fingerprint():
        return run
    raise RefusedError(f"{out} was made by another run: {_difference(out, run['parts'], plan)}; choose another --out")


def _difference(out: Path, before: dict[str, Any], plan: Plan) -> str:
    now = plan.parts()
    for key in sorted(before["config"].keys() | now["config"].keys()):
        old, new = before["config"].get(key), now["config"].get(key)
        if old != new:
            return f"{key} was {old!r} and is now {new!r}"
    if before["code"] != now["code"]:
        return f"the code was {before['code']} and is now {now['code']}"
    try:
        old_inputs = read_manifest(out)
    except (OSError, ValueError, KeyError) as error:
        if passing(error):
            raise
        what = "frames" if before["ids"] != now["ids"] else "input files"
        return f"its {what} were others, and which is not known without a readable {MANIFEST}"
    new_inputs = dict(zip(plan.ids, plan.inputs, strict=True))
    if before["ids"] != now["ids"]:
        added, gone = new_inputs.keys() - old_inputs.keys(), old_inputs.keys() - new_inputs.keys()
        return f"{len(added)} frames were added and {len(gone)} removed, {min(added | gone, default='')!r} the first"
    changed = [i for i in plan.ids if old_inputs.get(i) != new_inputs[i]]
    return f"the input files of {len(changed)} frames changed, {changed[0] if changed else ''!r} the first"


def write_manifest(out: Path, plan: Plan) -> None:
    """Write every id in order with its shard and input stamp, unless it lies there already."""
    numbers = [number for number, ids in plan.ranges() for _ in ids]
    columns = {"id": list(plan.ids), "shard": pa.array(numbers, pa.int32()), "inputs": list(plan.inputs)}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd", write_page_checksum=True)
    try:
        same = (out / MANIFEST).read_bytes() == buffer.getvalue()
    except FileNotFoundError:
        same = False
    if not same:
        replace_file(out / MANIFEST, buffer.getvalue())


def read_manifest(out: Path) -> dict[str, str]:
    """The input stamp of each id in the manifest."""
    table = pq.read_table(pa.BufferReader((out / MANIFEST).read_bytes()))
    return dict(zip(table["id"].to_pylist(), table["inputs"].to_pylist(), strict=True))


def write_sums(out: Path, shards: Mapping[str, str]) -> None:
    """Write SHA256SUMS over the manifest and `shards` (name below `out` -> SHA-256), as `sha256sum -c` reads it."""
    digests = {MANIFEST: file_sha256(out / MANIFEST)} | dict(sorted(shards.items()))
    replace_file(out / SUMS, "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode())


def sums_hold(out: Path) -> bool:
    """Whether SHA256SUMS is there and every file it names has the bytes it had."""
    try:
        lines = (out / SUMS).read_text().splitlines()
        return bool(lines) and all(file_sha256(out / line[66:]) == line[:64] for line in lines)
    except (OSError, UnicodeDecodeError):
        return False


def sweep(out: Path) -> int:
    """Remove what a killed run left under temporary names; the number of files removed."""
    if not is_local(out):
        return 0  # a store gets whole objects only
    stale = [path for folder in (out, *(out / name for name in FOLDERS)) for path in folder.glob(".*.tmp")]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
