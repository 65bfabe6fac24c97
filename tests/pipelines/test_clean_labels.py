"""Labels cleaned by an autoencoder of their own kind: a label run again, with what was doubted replaced or left out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastseg.data.pssl_shards import PSSLShards, deciles_of
from fastseg.data.shards import PSSL_SCHEMA, HNShards, ShardWriter
from fastseg.labels.pssl_config import class_map, packed
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.structure import LabelStructure
from fastseg.train import fit
from fastseg.verify import problems
from pipelines.clean_labels import cli

pytestmark = pytest.mark.torch
NOISE = 0.03
LOOP = LoopConfig(device="cpu", workers=0, threads=1, save_every=1000, log_every=100)


def _truth(index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Floor below, a wall above, a box somewhere: four classes in large pieces."""
    random = np.random.default_rng(index)
    label = np.zeros((48, 64), np.uint8)
    label[: int(random.integers(16, 32))] = 2
    top, left = random.integers(8, 24, 2)
    label[top : top + 16, left : left + 20] = 1 + 2 * (index % 2)
    return label


def _row(index: int) -> dict[str, object]:
    random, label = np.random.default_rng(100 + index), _truth(index)
    wrong = random.random(label.shape) < NOISE
    label = np.where(wrong, random.integers(0, 4, label.shape), label).astype(np.uint8)
    label[:2] = 255
    figures = {"floor_m": 1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    bins = np.bincount(label.ravel(), minlength=256)[:4].tolist()
    row = {"id": f"room/{index:02}", "image": None, "label": label.tobytes(), "height": 48, "width": 64}
    return {**row, "up": [0.0, -1.0, 0.0], "bins": bins, **figures}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label run of 16 maps with speckles, in two shards."""
    out = tmp_path_factory.mktemp("clean") / "run"
    (out / "labels").mkdir(parents=True)
    metadata = {"fingerprint": "abc", "hn": {"n_height": 2, "n_normal": 2, "height_edges": [0.5]}}
    for shard in (0, 1):
        with ShardWriter(out / "labels" / f"shard-{shard:05}.parquet", metadata) as writer:
            for index in range(8 * shard, 8 * shard + 8):
                writer.add(_row(index))
            writer.commit()
    return out


class Speckled:
    """The run's labels as a training set; the run itself has no colour, which only a network would look at."""

    def __init__(self, run: Path, names: list[str]) -> None:
        self._shards, self.class_names = HNShards(run), names

    def ids(self) -> list[str]:
        return self._shards.ids()

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        label = np.frombuffer(self._shards.row(index)["label"], np.uint8).reshape(48, 64)
        return np.zeros((48, 64, 3), np.uint8), label


@pytest.fixture(scope="module")
def autoencoder(run: Path) -> str:
    optim = OptimConfig(lr=3e-3, optimizer="adamw", weight_decay=0.0)
    method = LabelStructure("shards", str(run), run.parent / "autoencoder", widths=32, size="48x64", steps=60, batch=8)
    changed = {"loop": LOOP, "optim": optim}
    method = LabelStructure(**{**vars(method), **changed})
    assert fit(method, Speckled(run, HNShards(run).class_names)) == 0
    return str(method.out)


def _command(run: Path, autoencoder: str, out: Path, *more: str) -> int:
    words = ["--run", str(run), "--autoencoder", autoencoder, "--out", str(out), "--workers", "0", "--shard_size", "6"]
    return cli([*words, *more])


def _agreement(out: Path) -> tuple[float, float]:
    """The share of labelled pixels that are true, and of all pixels that are labelled."""
    shards, right, labelled = HNShards(out), 0, 0
    for index in range(len(shards)):
        label = np.frombuffer(shards.row(index)["label"], np.uint8).reshape(48, 64)
        right += int((label == _truth(index))[label != 255].sum())
        labelled += int((label != 255).sum())
    return right / labelled, labelled / (48 * 64 * len(shards))


def test_a_cleaned_run_is_a_whole_run_with_fewer_speckles(run: Path, autoencoder: str, tmp_path: Path) -> None:
    before, share = _agreement(run)
    assert _command(run, autoencoder, tmp_path / "class", "--instead", "class") == 0
    assert _command(run, autoencoder, tmp_path / "void") == 0
    assert problems(tmp_path / "class") == problems(tmp_path / "void") == []
    after, same = _agreement(tmp_path / "class")
    left, less = _agreement(tmp_path / "void")
    assert min(after, left) > before and same == share and share - 2 * NOISE < less < share
    assert HNShards(tmp_path / "class").ids() == HNShards(run).ids()


def test_the_same_command_again_does_nothing_and_another_is_refused(
    run: Path, autoencoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _command(run, autoencoder, out) == 0
    sums = (out / "SHA256SUMS").read_bytes()
    (out / "labels" / "shard-00001.parquet").unlink()
    assert _command(run, autoencoder, out) == 0 and (out / "SHA256SUMS").read_bytes() == sums
    assert _command(run, autoencoder, out, "--doubt", "0.2") == 2
    assert "doubt was 0.05 and is now 0.2" in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["parts"]["config"]["labels"] == "abc"


def test_an_autoencoder_of_other_classes_is_refused(
    run: Path, autoencoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = LoopConfig(device="cpu", workers=0, threads=1)
    other = LabelStructure("labels", "x", tmp_path / "other", widths=32, size="48x64", steps=1, batch=2, loop=loop)
    assert fit(other, Speckled(run, list("abcd"))) == 0
    assert _command(run, str(other.out), tmp_path / "out") == 2
    assert "was trained on 4 classes (a, b, c, ...), and the labels of" in capsys.readouterr().err
    for words, sentence in (
        (["--doubt", "0"], "--doubt is a probability above 0"),
        (["--autoencoder", str(tmp_path)], "no checkpoint in"),
        (["--run", str(tmp_path)], "no label shards"),
    ):
        assert _command(run, autoencoder, tmp_path / "out", *words) == 2
        assert sentence in capsys.readouterr().err


def _pictures(out: Path, count: int = 8) -> Path:
    """A PSSL run of pictures of two classes: a tenth of each is a block in the top decile, some of it strewn about."""
    (out / "labels").mkdir(parents=True)
    metadata = {"fingerprint": "abc", "pssl": {"classes": ["cat", "dog"], "models": ["m"], "samples": 1}}
    with ShardWriter(out / "labels" / "0.parquet", metadata, PSSL_SCHEMA) as writer:
        for index in range(count):
            score = np.linspace(0, 0.9, 32 * 32).reshape(32, 32)
            score[8:16, 2 * index : 2 * index + 10] += 1
            score.ravel()[np.random.default_rng(index).choice(32 * 32, 12, replace=False)] += 2
            deciles = (score.ravel().argsort().argsort() * 10 // score.size).astype(np.uint8).reshape(32, 32)
            figures = {"samples": 1, "changed": 0.0, "probability": 0.5, "right": 1.0, "image": None}
            row = {"id": f"picture/{index}", "class": index % 2, "deciles": packed(deciles), "height": 32, "width": 32}
            writer.add({**row, **figures})
        writer.commit()
    return out


class Ranked:
    """The labels of a PSSL run that kept no pictures."""

    def __init__(self, run: Path) -> None:
        self._shards = PSSLShards(run)
        self.class_names = self._shards.class_names

    def ids(self) -> list[str]:
        return self._shards.ids()

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        row = self._shards.row(index)
        label = class_map(deciles_of(row), row["class"], 2).astype(np.uint8)
        return np.zeros((32, 32, 3), np.uint8), label


def test_doubted_pixels_of_a_pssl_run_leave_the_top_decile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, optim = _pictures(tmp_path / "run"), OptimConfig(lr=3e-3, optimizer="adamw", weight_decay=0.0)
    method = LabelStructure("shards", str(run), tmp_path / "maps", widths=32, size="32x32", steps=80, batch=8)
    assert fit(LabelStructure(**{**vars(method), "loop": LOOP, "optim": optim}), Ranked(run)) == 0
    assert _command(run, str(method.out), tmp_path / "out", "--doubt", "0.1") == 0
    assert problems(tmp_path / "out") == []
    before, after = (PSSLShards(each) for each in (run, tmp_path / "out"))
    assert after.ids() == before.ids() and after.class_names == ["cat", "dog", "background"]
    changed = 0
    for index in range(len(before)):
        first, second = deciles_of(before.row(index)), deciles_of(after.row(index))
        moved = first != second
        assert (first[moved] == 9).all() and (second[moved] == 8).all()
        changed += int(moved.sum())
    assert 0 < changed < 8 * 50, "some of the strewn pixels went, the blocks stayed"


def test_the_work_of_a_label_loads_torch_only_when_it_runs() -> None:
    code = "import sys; import pipelines.clean_labels, pipelines.make_hn_labels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
