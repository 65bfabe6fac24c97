"""`fastseg verify` finds every kind of damage in a small run and names it; it changes nothing."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastseg import verify
from fastseg.data import shards
from fastseg.data.places import place
from fastseg.data.run_check import Finding, Task
from fastseg.verify import VerifyConfig, cli, found_problems, main, problems

PARTS = {"ids": hashlib.sha256(b"a\nb\nc").hexdigest(), "inputs": hashlib.sha256(b"1\n1\n1").hexdigest()}
FINGERPRINT = hashlib.sha256(json.dumps(PARTS, sort_keys=True).encode()).hexdigest()


def write_run(out: Path, **changes: Any) -> None:
    counts = {"frames": 3, "labels": 2, "rejected": {"no-floor": 1}}
    run = {"fingerprint": FINGERPRINT, "parts": PARTS, "finished": "now", "counts": counts}
    (out / "run.json").write_text(json.dumps(run | changes))


def label_row(frame_id: str, value: int = 2) -> dict[str, Any]:
    figures = {"floor_m": -1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    bins = [12 if i == value else 0 for i in range(6)]
    label = np.full((3, 4), value, np.uint8).tobytes()
    sizes = {"height": 3, "width": 4, "up": [0.0, -1.0, 0.0], "bins": bins}
    return {"id": frame_id, "image": b"x", "label": label} | figures | sizes


def write_sums(out: Path) -> None:
    files = sorted(p for p in out.rglob("*.parquet"))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(out).as_posix()}\n" for p in files]
    (out / "SHA256SUMS").write_text("".join(lines))


def write_shard(
    out: Path, folder: str, number: int, rows: list[dict[str, Any]], fingerprint: str = FINGERPRINT
) -> None:
    schema = shards.SCHEMA if folder == "labels" else shards.REJECTED_SCHEMA
    metadata = {"fingerprint": fingerprint, "hn": {"n_height": 3, "n_normal": 2, "height_edges": [0.5, 1.0]}}
    path = out / folder / f"shard-{number:05}.parquet"
    shards.write_table(path, pa.Table.from_pylist(rows, schema=schema), metadata)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    for folder in ("labels", "rejected"):
        (tmp_path / folder).mkdir()
    manifest = {"id": ["a", "b", "c"], "shard": pa.array([0, 0, 1], pa.int32()), "inputs": ["1"] * 3}
    pq.write_table(pa.table(manifest), tmp_path / "manifest.parquet")
    write_run(tmp_path, finished="now")
    write_shard(tmp_path, "labels", 0, [label_row("a")])
    write_shard(tmp_path, "labels", 1, [label_row("c")])
    write_shard(tmp_path, "rejected", 0, [{"id": "b", "reason": "no-floor", "detail": "", "value": 0.0}])
    write_shard(tmp_path, "rejected", 1, [])
    write_sums(tmp_path)
    assert problems(tmp_path) == []
    yield tmp_path


def check(out: Path, expected: str) -> None:
    write_sums(out)
    assert any(expected in problem for problem in problems(out)), problems(out)


def test_a_whole_run_passes_and_a_broken_one_ends_with_code_one(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(VerifyConfig(str(out))) == 0
    (out / "labels" / "shard-00001.parquet").unlink()
    assert main(VerifyConfig(str(out))) == 1
    assert "shard-00001.parquet is missing" in capsys.readouterr().err


def test_missing_unknown_and_repeated_ids_are_named(out: Path) -> None:
    write_shard(out, "labels", 1, [])
    check(out, "1 ids ('c') have no row")
    write_shard(out, "labels", 1, [label_row("c"), label_row("d")])
    check(out, "1 ids ('d') are not in the manifest")
    write_shard(out, "labels", 1, [label_row("b"), label_row("c")])
    check(out, "1 ids ('b') have several rows")
    check(out, "of other shards")


def test_label_values_and_histograms_out_of_range_are_named(out: Path) -> None:
    write_shard(out, "labels", 1, [label_row("c", value=7)])
    check(out, "label of 'c' must hold 0..5 or 255; got 7")
    write_shard(out, "labels", 1, [label_row("c") | {"bins": [12, 0, 0, 0, 0, 0]}])
    check(out, "bins of 'c' do not count its label")
    write_shard(out, "labels", 1, [label_row("c") | {"height": 2}])
    check(out, "label of 'c' must be 2 x 4 bytes; got 12")


def test_shards_of_another_run_or_schema_and_unlisted_ones_are_named(out: Path) -> None:
    write_shard(out, "labels", 1, [label_row("c")], fingerprint="g")
    check(out, "another run")
    write_shard(out, "labels", 2, [])
    check(out, "belongs to no shard")
    rows = pa.table({"id": ["c"], "label": [b""]})
    shards.write_table(out / "labels" / "shard-00001.parquet", rows, {"fingerprint": FINGERPRINT})
    check(out, "not the schema")


def test_an_unfinished_run_and_a_folder_that_is_none_are_named(out: Path, tmp_path: Path) -> None:
    write_run(out, finished=None)
    check(out, "is not finished")
    nothing = tmp_path / "nothing"
    missing = f"{nothing / 'run.json'}: No such file or directory"
    assert problems(nothing) == [f"{nothing} is not a readable label run: {missing}"]


def test_files_that_no_run_leaves_are_named(out: Path) -> None:
    (out / ".run.json.host.12.tmp").write_text("")
    (out / "labels" / ".shard-00000.parquet.host.12.tmp").write_text("")
    (out / "labels" / "notes.txt").write_text("")
    found = problems(out)
    assert len(found) == 3 and sum("left by a killed run" in problem for problem in found) == 2
    assert any("notes.txt belongs to no shard" in problem for problem in found)


def test_run_json_must_be_of_the_manifest_and_the_shards(out: Path) -> None:
    write_run(out, counts={"frames": 3, "labels": 3, "rejected": {}})
    check(out, "run.json counts")
    write_run(out, parts=PARTS | {"ids": "0" * 64})
    check(out, "does not hold the ids that run.json was made for")
    check(out, "its fingerprint is not that of its parts")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b'{"fingerprint": 1}', b"\xff", b"[" * 10**5])
def test_a_damaged_run_json_is_one_sentence(out: Path, text: bytes) -> None:
    (out / "run.json").write_bytes(text)
    (problem,) = problems(out)
    assert "is not a readable label run: run.json is damaged" in problem and "\n" not in problem


def test_a_damaged_manifest_is_one_sentence(out: Path) -> None:
    for table in (
        {"id": ["a"]},
        {"id": [None], "shard": [0], "inputs": ["1"]},
        {"id": [1], "shard": [0], "inputs": [1]},
    ):
        pq.write_table(pa.table(table), out / "manifest.parquet")
        (problem,) = problems(out)
        assert "is not a readable label run: manifest.parquet is damaged" in problem and "\n" not in problem


def test_a_manifest_in_any_order_names_an_id_twice(out: Path) -> None:
    manifest = {"id": ["c", "a", "a", "b"], "shard": pa.array([1, 0, 0, 0], pa.int32()), "inputs": ["1"] * 4}
    pq.write_table(pa.table(manifest), out / "manifest.parquet")
    found = problems(out)
    assert any("names 1 ids twice" in problem for problem in found)
    assert not any("have no row" in problem or "several rows" in problem for problem in found)


@pytest.mark.parametrize("name", ["../x", "/etc/hosts", "labels/../../x", "a\0b", ""])
def test_sums_never_lead_out_of_the_run(out: Path, name: str) -> None:
    with (out / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    (problem,) = problems(out)
    assert "names a file outside the run" in problem


def test_a_run_in_a_store_is_verified(out: Path) -> None:
    store = place("memory://verify-test")
    for path in (p for p in out.rglob("*") if p.is_file()):
        target = store / path.relative_to(out).as_posix()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert main(VerifyConfig("memory://verify-test")) == 0
    (store / "rejected" / "shard-00001.parquet").unlink()
    assert any("shard-00001.parquet is missing" in problem for problem in problems(store))


def test_a_store_that_is_none_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["memory://no-such-run"]) == 1
    assert "is not a readable label run" in capsys.readouterr().err
    assert cli(["ftpx://no-such-run"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("flips", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_every_flipped_byte_of_a_shard_is_found(out: Path, flips: int, finished: bool) -> None:
    """L6; an unfinished run has no SHA256SUMS: the seals find the flips."""
    if not finished:
        (out / "SHA256SUMS").unlink()
        write_run(out, finished=None)
    expected = problems(out)
    files = sorted(p for folder in ("labels", "rejected") for p in (out / folder).glob("*.parquet"))
    for seed in range(flips):
        rng = np.random.default_rng(seed)
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        found = problems(out)
        assert any(str(path) in problem for problem in found) and not any("Traceback" in p for p in found), seed
        path.write_bytes(whole)
    assert problems(out) == expected


@pytest.mark.slow
def test_processes_find_what_one_finds_and_one_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    from benchmarks.verify_scale import write_run as synthesise

    synthesise(tmp_path / "run", 20_000)
    (tmp_path / "run" / "labels" / "shard-00100.parquet").write_bytes(b"PAR1")
    expected = problems(tmp_path / "run", workers=0)
    assert len(expected) == 4, expected  # damaged, not its bytes, ids without a row, the count
    assert problems(tmp_path / "run", workers=2) == expected
    found = found_problems(tmp_path / "run", workers=2)
    first = next(found)
    multiprocessing.active_children()[0].kill()
    assert [first, *found] == expected


class Deadly:
    """A pool whose process dies of shard 5."""

    def __enter__(self) -> Deadly:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, check: object, tasks: list[Task]) -> Future[list[Finding]]:
        future: Future[list[Finding]] = Future()
        if any(task.number == 5 for task in tasks):
            future.set_exception(BrokenProcessPool("died"))
        else:
            future.set_result([Finding(task.number) for task in tasks])
        return future


def test_a_shard_that_ends_the_process_that_reads_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_pool", lambda workers: Deadly())
    monkeypatch.setattr(verify, "CHUNK", 4)
    tasks = [Task("run", number, (), "f") for number in range(11)]
    found = list(verify._findings(iter(tasks), 2))
    assert [finding.number for finding in found] == list(range(11))
    problems = {finding.number: finding.problems for finding in found if finding.problems}
    assert list(problems) == [5] and "shard-00005.parquet or its rejected rows end the process" in problems[5][0]


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [400_000, 1_200_000])
def test_a_million_ids_are_verified_within_a_minute_and_two_gib(tmp_path: Path, count: int) -> None:
    """L18, with two workers on two cores that have nothing else to do."""
    from benchmarks.verify_scale import measure
    from benchmarks.verify_scale import write_run as synthesise

    synthesise(tmp_path / "run", count)
    found = measure(tmp_path / "run", workers=2)
    assert found["seconds"] < 60 and found["peak_mib"] < 2048, found
