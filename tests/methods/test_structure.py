"""The label autoencoder learns maps, wherever they come from, and says what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastseg.checkpoint import load
from fastseg.data.augment import NOTHING
from fastseg.data.label_maps import LabelPictures, open_labels
from fastseg.evaluate import cli as evaluate
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.structure import LabelStructure
from fastseg.predict import cli as predict
from fastseg.train import cli, fit
from tests.squares import Squares

pytestmark = pytest.mark.torch
LOOP = LoopConfig(device="cpu", workers=0, threads=1, save_every=1000, log_every=10)


def _method(out: Path, **changed: Any) -> LabelStructure:
    fixed: dict[str, Any] = {"data": "labels", "root": "nowhere", "out": out, "widths": 32, "size": "64x64"}
    fixed |= {"steps": 60, "batch": 4, "augment": NOTHING, "loop": LOOP, "optim": OptimConfig(2e-3, "adamw")}
    return LabelStructure(**{**fixed, **changed})


def _labels(root: Path, count: int = 4, value: int | None = None) -> Path:
    """A folder of the labels of coloured squares, without their images."""
    (root / "labels").mkdir(parents=True)
    (root / "classes.txt").write_text("ground\nred\ngreen\n")
    for index in range(count):
        Image.fromarray(Squares(count, value)[index][1].astype(np.uint8)).save(root / "labels" / f"{index}.png")
    return root


def _said(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    words = ["label-autoencoder", "--data", "labels", "--root", str(root), "--out", str(out), "--split", "all"]
    words += ["--size", "64x64", "--steps", "1", "--batch", "2", "--loop.workers", "0", "--loop.device", "cpu"]
    assert cli([*words, *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_the_defaults_are_the_papers() -> None:
    method = LabelStructure("voc", "VOC2012", Path("run"))
    assert (method.widths, method.size, method.batch) == (128, "256x256", 12)
    assert method.optim.optimizer == "adamw" and method.optim.weight_decay == 0  # = Adam
    assert not method.augment.jitter


def test_maps_are_learned_and_their_reconstruction_is_scored(tmp_path: Path) -> None:
    method = _method(tmp_path / "run", loop=replace(LOOP, eval_every=60))
    squares = Squares(8)
    assert fit(method, squares, LabelPictures(squares, (64, 64))) == 0
    lines = [json.loads(line) for line in (method.out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["miou"] > 0.5
    record = load(method.out).record
    assert record.network == "label-autoencoder/32" and record.classes == Squares.class_names


def test_a_folder_of_labels_is_enough_to_train_and_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = _labels(tmp_path / "set"), tmp_path / "run"
    words = ["--data", "labels", "--root", str(root), "--split", "all"]
    sizes = ["--widths", "32", "--size", "64x64", "--steps", "2", "--batch", "2"]
    assert cli(["label-autoencoder", *words, "--out", str(out), *sizes, "--loop.workers", "0"]) == 0
    assert evaluate([*words, "--checkpoint", str(out), "--json", str(tmp_path / "scores.json")]) == 0
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["protocol"]["images"] == 4 and 0 <= found["miou"] <= 1
    capsys.readouterr()
    assert predict([str(out), str(root / "labels"), "--out", str(tmp_path / "pictures")]) == 2
    assert "takes label maps (train label-autoencoder), not images" in capsys.readouterr().err


def test_a_score_is_that_of_the_maps_as_the_network_sees_them(tmp_path: Path) -> None:
    found = LabelPictures(open_labels("labels", _labels(tmp_path), "all"), (32, 32))
    assert found.class_names == ["ground", "red", "green"] and len(found) == 4 and len(found.ids()) == 4
    image, small = found[0]
    assert image.shape == (32, 32, 3) and (image == small[..., None]).all()
    assert (small == Squares(4)[0][1][1::2, 1::2]).all()


def test_values_that_are_no_class_are_told_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _labels(tmp_path / "set", value=7)
    error = _said(root, tmp_path / "run", capsys)
    assert "0.png" in error and "expected labels 0 to 2, or 255 = void; '0' has 7" in error


def test_maps_that_are_all_void_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = _said(_labels(tmp_path / "set", value=255), tmp_path / "run", capsys)
    assert "no pixel of the 4 labelled images has a class: all are 255 (ignore)" in error


def test_more_classes_than_a_map_can_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="maps of at most 255 classes; these have 1002"):
        _method(tmp_path).build(1002)


def test_widths_and_splits_that_are_not_there_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _labels(tmp_path / "set")
    assert "32 or 128 or 256; got 64" in _said(root, tmp_path / "run", capsys, "--widths", "64")
    error = _said(root, tmp_path / "run", capsys, "--data", "shards", "--loop.eval_every", "1")
    assert "label shards do not have" in error
