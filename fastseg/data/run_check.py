"""What a label run claims to be (run.json, manifest, SHA256SUMS), and whether its shards are that. Repairs nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fastseg.data.places import answered, place
from fastseg.data.shard_check import check_shard, file_sha256
from fastseg.data.shards import REJECTED_SCHEMA

MANIFEST, RUN, SUMS = "manifest.parquet", "run.json", "SHA256SUMS"
FOLDERS = {"labels": None, "rejected": REJECTED_SCHEMA}  # None: as the footer has it
SHOWN = 5  # ids named in one line; the count is always whole


@dataclass(frozen=True)
class Task:
    """One shard number of a run: the ids that its two files must hold between them."""

    out: str
    number: int
    ids: tuple[str, ...]
    fingerprint: str


@dataclass
class Finding:
    """What the two files of one number hold: problems, their SHA-256s, ids missing or too many, rows by kind."""

    number: int
    problems: list[str] = field(default_factory=list)
    sums: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # "" = labelled, else the reason


@dataclass(frozen=True)
class Claims:
    """What a run says of itself: run.json, the manifest's ids in order of shard, and SHA256SUMS (None: no file)."""

    run: dict[str, Any]
    ids: pa.Array
    numbers: npt.NDArray[np.int64]  # one an id, rising
    inputs: pa.Array
    sums: dict[str, str] | None

    def tasks(self, out: Path) -> Iterator[Task]:
        """One for each shard number, in order."""
        numbers, starts = np.unique(self.numbers, return_index=True)
        stops = [*starts[1:], len(self.numbers)]
        for number, start, stop in zip(numbers, starts, stops, strict=True):
            ids = tuple(self.ids.slice(start, stop - start).to_pylist())
            yield Task(str(out), int(number), ids, str(self.run["fingerprint"]))


def shard_name(folder: str, number: int) -> str:
    """A shard's name below the run's folder."""
    return f"{folder}/shard-{number:05}.parquet"


def read_claims(out: Path) -> Claims:
    """What the run in `out` claims; ValueError or OSError where it is no readable run."""
    with answered(out / RUN):
        text = (out / RUN).read_bytes()
    try:
        run = json.loads(text)
        run["fingerprint"], run["finished"], run["parts"]["ids"], run["parts"]["inputs"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{RUN} is damaged ({type(error).__name__}: {error})") from error
    with answered(out / MANIFEST):
        content = pa.BufferReader((out / MANIFEST).read_bytes())
    try:
        table = pq.read_table(content, page_checksum_verification=True)
        ids, numbers, inputs = (table[name].combine_chunks() for name in ("id", "shard", "inputs"))
        order = np.asarray(numbers.cast(pa.int64()), np.int64)
        if any(column.null_count for column in (ids, numbers, inputs)) or not pa.types.is_string(ids.type):
            raise ValueError("it must give every id its shard and inputs")
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{MANIFEST} is damaged ({(str(error).splitlines() or [''])[0]})") from error
    if (np.diff(order) < 0).any():
        by_shard = np.argsort(order, kind="stable")
        ids, inputs, order = ids.take(pa.array(by_shard)), inputs.take(pa.array(by_shard)), order[by_shard]
    return Claims(run, ids, order, inputs, _read_sums(out))


def _read_sums(out: Path) -> dict[str, str] | None:
    with answered(out / SUMS):
        if not (out / SUMS).exists():
            return None
        lines = (out / SUMS).read_bytes().decode(errors="replace").splitlines()
    return {line[66:]: line[:64] for line in lines}


def claim_problems(out: Path, claims: Claims) -> Iterator[str]:
    """Where run.json, the manifest and SHA256SUMS contradict each other or name files that are not there."""
    run, parts = claims.run, claims.run["parts"]
    if run["finished"] is None:
        yield f"{out} is not finished; the command that began it resumes"
    if run["fingerprint"] != digest_of([json.dumps(parts, sort_keys=True)]):
        yield f"{out / RUN}: its fingerprint is not that of its parts"
    for name, column in (("ids", claims.ids), ("inputs", claims.inputs)):
        if parts[name] != digest_of(column.to_pylist()):
            yield f"{out / MANIFEST} does not hold the {name} that {RUN} was made for"
    if repeated := len(claims.ids) - pc.count_distinct(claims.ids).as_py():
        yield f"{out / MANIFEST} names {repeated} ids twice"
    if claims.sums is None and run["finished"] is not None:
        yield f"{out / SUMS} is missing"
    shards = {shard_name(folder, number) for number in set(claims.numbers.tolist()) for folder in FOLDERS}
    yield from _other_sums(out, claims.sums or {}, shards)
    if claims.sums and MANIFEST not in claims.sums:
        yield f"{out / MANIFEST} is not in {SUMS}"
    yield from _strays(out, shards)


def digest_of(texts: Iterable[str]) -> str:
    """The SHA-256 (hex) of texts, one a line: what a fingerprint and its parts are made of."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _other_sums(out: Path, sums: dict[str, str], shards: set[str]) -> Iterator[str]:
    """What is wrong with the files of SHA256SUMS that are no shards of the manifest."""
    for name, digest in sums.items():
        pure = PurePosixPath(name)
        if name in shards:
            continue
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or not name:
            yield f"{out / SUMS} names a file outside the run: {name!r}"
            continue
        try:
            with answered(out / name):
                found = file_sha256(out / name)
        except OSError as error:
            yield f"{out / name} of {SUMS} cannot be read: {error.strerror or error}"
            continue
        if found != digest:
            yield f"{out / name} does not have the bytes that {SUMS} says"


def _strays(out: Path, shards: set[str]) -> Iterator[str]:
    """Files that no finished run leaves: temporary ones, and whatever else lies among the shards."""
    for folder in ("", *FOLDERS):
        top = out / folder if folder else out
        with answered(top):
            names = sorted(path.name for path in top.iterdir()) if top.is_dir() else []
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                yield f"{top / name} was left by a killed run; the command that began it removes it"
            elif folder and f"{folder}/{name}" not in shards:
                yield f"{top / name} belongs to no shard of the manifest"


def check_tasks(tasks: Sequence[Task]) -> list[Finding]:
    """What the shards of these numbers hold; any process may do it."""
    out = place(tasks[0].out)
    return [_check_task(out, task) for task in tasks]


def _check_task(out: Path, task: Task) -> Finding:
    finding = Finding(task.number)
    ids: list[str] = []
    for folder, schema in FOLDERS.items():
        name = shard_name(folder, task.number)
        report = check_shard(out / name, schema)
        finding.problems += report.problems
        finding.sums[name] = report.sha256
        if report.metadata and report.metadata.get("fingerprint") != task.fingerprint:
            finding.problems.append(f"{out / name} was made by another run than {RUN}")
        ids += report.ids
        finding.counts.update(report.reasons or {"": len(report.ids)})
    if sorted(ids) != list(task.ids):
        found, planned = Counter(ids), Counter(set(task.ids))
        finding.missing = list((planned - found).elements())
        finding.surplus = list((found - planned).elements())
    return finding


def sum_problems(out: Path, claims: Claims, finding: Finding) -> Iterator[str]:
    """Shards whose bytes are not those of SHA256SUMS, or that it does not name."""
    for name, digest in finding.sums.items():
        if claims.sums is None or not digest:
            continue
        if name not in claims.sums:
            yield f"{out / name} is not in {SUMS}"
        elif claims.sums[name] != digest:
            yield f"{out / name} does not have the bytes that {SUMS} says"


def id_problems(claims: Claims, findings: Sequence[Finding]) -> Iterator[str]:
    """Ids without a row, with several, in the wrong shard, or of no manifest; findings: those with such ids."""
    surplus = Counter(i for finding in findings for i in finding.surplus)
    missing = {i for finding in findings for i in finding.missing}
    listed = pa.array(list(surplus), pa.string())
    known = set(listed.filter(pc.is_in(listed, value_set=claims.ids)).to_pylist())
    for finding in findings:
        own = set(claims.ids.filter(pa.array(claims.numbers == finding.number)).to_pylist())
        if strangers := [i for i in finding.surplus if i in known and i not in own]:
            yield f"shard {finding.number:05} holds {_some(strangers)} of other shards"
    groups = {
        "have no row": sorted(missing - surplus.keys()),
        "are not in the manifest": sorted(surplus.keys() - known),
        "have several rows": sorted(i for i, n in surplus.items() if n + (i in known and i not in missing) > 1),
    }
    yield from (f"{_some(ids)} {what}" for what, ids in groups.items() if ids)


def count_problems(out: Path, claims: Claims, counts: Counter[str]) -> Iterator[str]:
    """Whether run.json counts the rows that the shards hold."""
    reasons = {reason: number for reason, number in counts.items() if reason and number}
    found = {"frames": counts.total(), "labels": counts[""], "rejected": reasons}
    if claims.run["finished"] is not None and claims.run.get("counts") != found:
        yield f"{out / RUN} counts {claims.run.get('counts')}; the shards hold {found}"


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"{len(ids)} ids ({', '.join(map(repr, ids[:SHOWN]))}{more})"
