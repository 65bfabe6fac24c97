"""`fastseg verify OUT`: every problem of a label run on disk, named; repairs nothing.

Checks that manifest, label rows and rejected rows hold the same ids, each once; the footer, schema, row count, content
hash, label values and histograms of every shard; and the bytes of every file against SHA256SUMS.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.shard_check import ShardReport, check_shard, file_sha256
from fastseg.data.shards import REJECTED_SCHEMA, SCHEMA

SHOWN = 5  # ids named in one line; the count is always whole


@dataclass(frozen=True)
class VerifyConfig:
    """Options of `fastseg verify`.

    out  the folder that a label pipeline wrote
    """

    out: Path


def problems(out: Path) -> list[str]:
    """Every problem of the run in `out`, one sentence each; empty when all is well."""
    return list(_problems(Path(out)))


def _problems(out: Path) -> Iterator[str]:
    try:
        run = json.loads((out / "run.json").read_text())
        manifest = pq.read_table(out / "manifest.parquet", page_checksum_verification=True)
        planned = dict(zip(manifest["id"].to_pylist(), manifest["shard"].to_pylist(), strict=True))
        fingerprint, finished = run["fingerprint"], run["finished"]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        yield f"{out} is not a readable label run: {text.splitlines()[0]}"
        return
    if finished is None:
        yield f"{out} is not finished; the command that began it resumes"
    yield from _sums(out, finished is not None)
    if len(planned) != len(manifest):
        yield f"{out / 'manifest.parquet'} names {len(manifest) - len(planned)} ids twice"
    found: Counter[str] = Counter()
    numbers = sorted(set(planned.values()))
    for folder, schema in (("labels", SCHEMA), ("rejected", REJECTED_SCHEMA)):
        expected = {f"shard-{number:05}.parquet": number for number in numbers}
        for path in sorted((out / folder).glob("*.parquet")):
            if path.name not in expected:
                yield f"{path} belongs to no shard of the manifest"
        for name, number in expected.items():
            report = check_shard(out / folder / name, schema)
            found.update(report.ids)
            yield from report.problems
            yield from _belongs(out / folder / name, report, fingerprint, planned, number)
    yield from _id_sets(planned, found)


def _belongs(path: Path, report: ShardReport, fingerprint: str, planned: dict[str, int], number: int) -> Iterator[str]:
    """Whether a shard is of this run and holds only ids of its own range."""
    if report.metadata and report.metadata.get("fingerprint") != fingerprint:
        yield f"{path} was made by another run than run.json"
    strangers = [i for i in report.ids if planned.get(i, number) != number]
    if strangers:
        yield f"{path} holds {_some(strangers)} of other shards"


def _id_sets(planned: dict[str, int], found: Counter[str]) -> Iterator[str]:
    missing = [i for i in planned if i not in found]
    unknown = [i for i in found if i not in planned]
    twice = [i for i, count in found.items() if count > 1]
    for ids, what in ((missing, "have no row"), (unknown, "are not in the manifest"), (twice, "have several rows")):
        if ids:
            yield f"{_some(ids)} {what}"


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"{len(ids)} ids ({', '.join(map(repr, ids[:SHOWN]))}{more})"


def _sums(out: Path, finished: bool) -> Iterator[str]:
    """Files whose bytes are not those of SHA256SUMS."""
    path = out / "SHA256SUMS"
    if not path.exists():
        if finished:
            yield f"{path} is missing"
        return
    listed = set()
    for line in path.read_text(errors="replace").splitlines():
        digest, name = line[:64], line[66:]
        listed.add(name)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            yield f"{path} names a file outside the run: {name!r}"
        elif not (out / name).is_file():
            yield f"{out / name} is missing"
        elif file_sha256(out / name) != digest:
            yield f"{out / name} does not have the bytes that SHA256SUMS says"
    files = (p.relative_to(out).as_posix() for f in ("labels", "rejected") for p in sorted((out / f).glob("*.parquet")))
    yield from (f"{out / name} is not in SHA256SUMS" for name in files if finished and name not in listed)


def main(config: VerifyConfig) -> int:
    """Print every problem; 0 when there is none, 1 otherwise."""
    found = problems(config.out)
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        print(f"{config.out}: problems found: {len(found)}", file=sys.stderr)
        return 1
    print(f"{config.out}: complete; every frame has one row and every file its bytes")
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg verify`: 0 complete, 1 problems found, 2 a mistake in the command."""
    from fastseg.cli import run

    return run(VerifyConfig, main, argv, positional=("out",))


if __name__ == "__main__":
    sys.exit(cli())
