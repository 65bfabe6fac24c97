"""The job of PSSL under kills: its odd pictures, its kills, and that a row too many or too few is seen."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import device_pssl_job, pssl_job
from benchmarks.pipeline_watch import descendants
from benchmarks.pssl_corpus import CLASSES, odd_files, write_classifiers, write_pictures
from benchmarks.pssl_job import Config, Kill, checked, kills_of
from fastseg.classifiers import read_classifiers
from fastseg.data import shards
from fastseg.data.class_pictures import Picture, decoded
from fastseg.frames import FrameError

SUM = {"fingerprint": "1"}


@pytest.mark.parametrize(("name", "data", "reason"), [(n, *each) for n, each in odd_files(3, 48).items()])
def test_each_odd_file_is_rejected_for_its_reason_or_read(name: str, data: bytes, reason: str) -> None:
    picture = Picture(data, name.partition("/")[0], name)
    if reason in ("", "class"):
        assert decoded(picture, 32).shape == (32, 32, 3) and (picture.of in CLASSES) == (not reason)
        return
    with pytest.raises(FrameError) as error:
        decoded(picture, 32)
    assert error.value.reason == reason


def test_a_corpus_has_its_length_its_classes_and_its_share_of_odd_files(tmp_path: Path) -> None:
    expected = write_pictures(tmp_path, 100, 32, odd_every=20)
    assert len(expected) == 100 and len([i for i, reason in expected.items() if reason]) == 3 * 8
    assert {f.relative_to(tmp_path).with_suffix("").as_posix() for f in tmp_path.glob("*/*")} == set(expected)
    assert {name.partition("/")[0] for name in expected} == {*CLASSES, "no-class"}


@pytest.mark.torch
def test_the_classifiers_are_listed_as_the_pipeline_reads_them(tmp_path: Path) -> None:
    models = read_classifiers(write_classifiers(tmp_path / "models", 48))
    assert len(models) == 2 and all(Path(model.weights).is_file() and model.size == 48 for model in models)


def test_kills_are_spread_over_the_run_and_none_is_at_its_end() -> None:
    found = kills_of(Config(pictures=6400, worker_kills=8, other_kills=1), 64)
    assert len(found) == 11 and [kill.shards for kill in found] == sorted({kill.shards for kill in found})
    assert found[-1].shards == 90 and sum(kill.whom == "worker" for kill in found) == 8


def test_a_driver_that_is_killed_is_started_again_and_a_failing_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    shard = tmp_path / "labels" / "shard-00000.parquet"
    program = (
        "import pathlib, sys, time\np = pathlib.Path(sys.argv[1])\nif not p.exists():\n p.touch()\n time.sleep(60)"
    )
    told = pssl_job.survived(["-c", program, str(shard)], tmp_path, [Kill(1, "driver")])
    assert told == {"kills": {"driver": 1, "processes": 1}, "starts": 2, "ended_with_1": []}
    busy = "import pathlib, sys\np = pathlib.Path(sys.argv[1])\nif not p.exists():\n p.touch()\n sys.exit('no Ray')"
    told = pssl_job.survived(["-c", busy, str(tmp_path / "begun")], tmp_path, [])
    assert told == {"kills": {}, "starts": 2, "ended_with_1": ["no Ray"]}
    with pytest.raises(ValueError, match="over before driver could be killed at 9 shards"):
        pssl_job.survived(["-c", "pass"], tmp_path, [Kill(9, "driver")])
    with pytest.raises(ValueError, match="exit code 7: no reason"):
        pssl_job.survived(["-c", "import sys; print('no reason', file=sys.stderr); sys.exit(7)"], tmp_path, [])


@pytest.fixture
def parent() -> Iterator[int]:
    """A process with a child."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not descendants(process.pid):
            time.sleep(0.02)
        yield process.pid
        process.kill()


def test_a_tree_is_the_driver_and_all_below_it(parent: int) -> None:
    assert pssl_job.killed(parent, "worker") == pssl_job.killed(parent, "raylet") == 0
    assert pssl_job.killed(parent, "tree") == 2


def rejected(folder: Path, *rows: tuple[str, str]) -> None:
    for name in ("labels", "rejected"):
        (folder / name).mkdir(exist_ok=True)
    with shards.ShardWriter(folder / "rejected/shard-00000.parquet", SUM, shards.REJECTED_SCHEMA) as writer:
        for name, reason in rows:
            writer.add({"id": name, "reason": reason, "detail": "", "value": 0.0})
        writer.commit()


def test_a_row_that_is_missing_double_or_of_another_reason_is_an_error(tmp_path: Path) -> None:
    rejected(tmp_path, ("a", "type"), ("b", "decode"))
    with pytest.raises(AssertionError, match=r"2 rows.*'a', 'class'"):
        checked(tmp_path, {"a": "class", "b": "decode"})
    with pytest.raises(AssertionError, match=r"1 rows.*'c', ''"):
        checked(tmp_path, {"a": "type", "b": "decode", "c": ""})


@pytest.mark.torch
@pytest.mark.slow
def test_the_pipeline_that_a_gpu_is_asked_for_runs_on_the_processor_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pssl_job, "RUNS", {"inline": (0, 0)})
    config = device_pssl_job.Config(tmp_path, pictures=3, side=32, size=32, samples=2, device="cpu")
    assert device_pssl_job.main(config) == 0
    assert "pictures_per_second" in next(tmp_path.glob("device-pssl_job-*.json")).read_text()
