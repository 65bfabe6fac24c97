"""Classifiers in stages: the labels of all at once, rejections carried through, nothing added twice, resumption."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_make_pssl_labels import config, digests, encoded, folder, models, noise
from toy_run import rows, snapshot

from fastseg.data import shards
from fastseg.labels.pssl_config import unpacked
from fastseg.verify import problems
from pipelines.make_pssl_labels import main
from pipelines.pssl_plan import MakePSSLLabels

__all__ = ["models"]  # the fixture


def staged(root: Path, listed: Path, out: Path) -> MakePSSLLabels:
    one = config(root, listed, out)
    return replace(one, tuning=replace(one.tuning, models_at_once=1))


def files() -> dict[str, bytes]:
    return {f"cat/{i}.jpg": encoded(noise(i)) for i in range(6)} | {"dog/bad.jpg": b"no picture"}


def test_stages_give_the_labels_of_all_classifiers_at_once(models: Path, tmp_path: Path) -> None:
    root = folder(tmp_path / "in", files())
    assert main(config(root, models, tmp_path / "one")) == main(staged(root, models, tmp_path / "two")) == 0
    assert problems(tmp_path / "two") == problems(tmp_path / "two/stages/0") == []
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert one["id"] == two["id"] and one["probability"] == pytest.approx(two["probability"], rel=1e-5)
        ranks = [unpacked(row["deciles"], row["height"], row["width"]).astype(int) for row in (one, two)]
        assert (ranks[0] != ranks[1]).mean() < 0.01 and np.abs(ranks[0] - ranks[1]).max() <= 1  # of float32 sums
    rejected = [rows(tmp_path / name, "rejected") for name in ("one", "two", "two/stages/0")]
    assert rejected[0][0]["reason"] == "decode" and rejected[0][0]["id"] == "dog/bad"
    assert rejected[0][0]["detail"] == rejected[1][0]["detail"] == rejected[2][0]["detail"]


def test_a_stage_that_lost_a_shard_is_made_again_and_adds_nothing_twice(models: Path, tmp_path: Path) -> None:
    root, out = folder(tmp_path / "in", files()), tmp_path / "out"
    assert main(staged(root, models, out)) == 0
    before, labels = snapshot(out), digests(out)
    assert main(staged(root, models, out)) == 0 and snapshot(out) == before
    for lost in ("labels/shard-00001.parquet", "stages/0/labels/shard-00000.parquet", "SHA256SUMS"):
        (out / lost).unlink()
    (out / "run.json").unlink()
    for path in (out / "labels").glob("*"):
        path.unlink()
    assert main(staged(root, models, out)) == 0
    assert digests(out) == labels and problems(out) == problems(out / "stages/0") == []


def test_the_stages_may_be_removed_once_all_is_done(models: Path, tmp_path: Path) -> None:
    root, out = folder(tmp_path / "in", files()), tmp_path / "out"
    assert main(staged(root, models, out)) == 0
    shutil.rmtree(out / "stages")
    assert main(staged(root, models, out)) == 0 and not (out / "stages").exists() and problems(out) == []


def test_a_partial_sum_that_no_maps_add_up_to_is_named(models: Path, tmp_path: Path) -> None:
    root, out = folder(tmp_path / "in", files()), tmp_path / "out"
    assert main(staged(root, models, out)) == 0
    path = out / "stages/0/labels/shard-00000.parquet"
    kept = list(shards.read_rows(path))
    for total in (np.full((32, 32), 1.5, np.float32).tobytes(), b"1234"):
        with shards.ShardWriter(path, shards.read_metadata(path), shards.SUM_SCHEMA) as writer:
            for row in kept:
                writer.add(row | {"total": total})
            writer.commit()
        assert any("total of 'cat/0' must" in problem for problem in problems(out / "stages/0"))


def test_stopping_early_needs_all_classifiers_at_once(models: Path, tmp_path: Path) -> None:
    one = staged(folder(tmp_path / "in", files()), models, tmp_path / "out")
    with pytest.raises(ValueError, match="does not go with --tuning"):
        main(replace(one, pssl=replace(one.pssl, stop_at=0.1)))
