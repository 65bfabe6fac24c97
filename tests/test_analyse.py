"""Trained networks on one page: what is found, measured and drawn, and what is refused."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastseg.analyse import cli
from fastseg.analyse_runs import Trained, mean_curve, named_runs, smoothed, study_runs
from fastseg.analyse_scores import size_at
from fastseg.checkpoint import Record, save
from fastseg.data.augment import UNIT
from fastseg.nets import build_network
from fastseg.pictures import class_palette
from fastseg.report import POLICY

pytestmark = pytest.mark.torch
TINY = "skip/mobilenetv3_small_050"
CLASSES = ("floor", "<script>wall", "chair")
RECORD = Record("segment", TINY, CLASSES, UNIT, (32, 64), 4, 1, {"steps": 4, "seed": 0})
DEPTH = {"steps": 4, "supervision": "video", "depth": {"nearest": 0.5, "farthest": 9.0}}


def _run(out: Path, record: Record = RECORD, seed: int = 0, images: int = 8) -> Path:
    out.mkdir(parents=True)
    (out / "data.json").write_text(json.dumps({"images": images}))
    lines = [{"step": step, "loss": 2.0 / step + seed} for step in (1, 2, 3, 4)]
    scored = [{"step": step, "miou": 0.1 * step, "global_accuracy": 0.2 * step} for step in (2, 4)]
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, *scored]))
    return save(out, record, _weights(record.network, len(record.classes), seed), {})


@cache
def _weights(network: str, classes: int, seed: int) -> dict[str, torch.Tensor]:
    return build_network(network, classes, seed=seed).state_dict()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two variants with two seeds, a depth network that one of them began from, and labelled frames."""
    root, random = tmp_path_factory.mktemp("analysis"), np.random.default_rng(0)
    depth = replace(RECORD, method="monodepth", network=f"depth-pose/{TINY}", classes=("depth",), config=DEPTH)
    _run(root / "depth", depth, images=99)
    for name in ("scratch", "begun"):
        for images in (2, 5):
            for seed in (0, 1):
                config = {"steps": 4, "seed": seed, "init_from": str(root / "depth") if name == "begun" else ""}
                _run(root / f"study/cells/{name}-{images}-{seed}", replace(RECORD, config=config), seed, images)
    half = replace(RECORD, config={"steps": 9})
    _run(root / "study/cells/scratch-5-2", half)
    (root / "study/cells/begun-5-2").mkdir()
    for folder in ("color", "labels", "depth"):
        (root / "data" / folder).mkdir(parents=True)
    (root / "data" / "classes.txt").write_text("\n".join(CLASSES))
    camera = {"fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5, "width": 64, "height": 48, "depth_scale": 0.001}
    (root / "data" / "intrinsics.json").write_text(json.dumps(camera))
    for index in range(3):
        arrays = {
            "color": random.integers(0, 255, (48, 64, 3), dtype=np.uint8),
            "labels": random.integers(0, 3, (48, 64), dtype=np.uint8),
            "depth": random.integers(900, 4000, (48, 64), dtype=np.uint16),
        }
        for folder, array in arrays.items():
            Image.fromarray(array).save(root / "data" / folder / f"{index}.png")
    return root


def _words(root: Path, out: Path, *words: str) -> list[str]:
    given = ["--data", "folder", "--root", str(root / "data"), "--split", "all", "--out", str(out), "--device", "cpu"]
    return [*given, *words]


@pytest.mark.slow
def test_the_page_holds_everything_and_no_script(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--study", str(root / "study"), "--runs", f"deep={root / 'depth'}", "--classes", "floor,chair"]
    assert cli(_words(root, tmp_path, *words, "--scales", "1,2", "--pictures", "2", "--threads", "1")) == 0
    said = capsys.readouterr().out
    assert "left out, not done yet: begun-5-2, scratch-5-2" in said and said.count("scored") == 9
    page = (tmp_path / "report.html").read_text()
    assert POLICY in page and "<script" not in page and "&lt;script&gt;wall" in page and "://" not in page
    for title in ("Scores at the training size", "Depth", "Curves", "Pictures", "IoU of each class", "Protocol"):
        assert f"<h2>{title}" in page
    for chart in ("Training loss, 5 labelled images", "mIoU by labelled images", "mIoU by size of the input",
                  "mIoU against accuracy"):  # fmt: skip
        assert chart in page
    # of each of two images: scratch has image, 2 maps, prediction, truth; begun has depth as well, deep the measured
    assert page.count("<img") == 2 * (5 + 6 + 5) and page.count("no depth network") == 2
    found: dict[str, Any] = json.loads((tmp_path / "analysis.json").read_text())
    rows = {(row["name"], row["images"], row["seed"]): row for row in found["rows"]}
    assert len(rows) == 9 and rows["deep", 99, 0]["depth"]["median_scaling"]
    one = rows["begun", 5, 1]["scales"]
    assert [each["seen"] for each in one] == [[32, 64], [64, 128]]
    assert one[0]["classes_miou"] == pytest.approx(np.mean([one[0]["iou"]["floor"], one[0]["iou"]["chair"]]))


def test_a_study_gives_its_variants_images_and_seeds(root: Path) -> None:
    found = study_runs(root / "study")
    assert [(run.name, run.images, run.seed) for run in found[:3]] == [
        ("begun", 2, 0),
        ("begun", 2, 1),
        ("begun", 5, 0),
    ]
    protocol = {"protocol": {"variants": [{"name": "scratch"}, {"name": "begun"}]}}
    (root / "study" / "study.json").write_text(json.dumps(protocol))
    assert [run.name for run in study_runs(root / "study")] == ["scratch"] * 4 + ["begun"] * 4
    (root / "study" / "study.json").unlink()


def test_a_network_of_some_classes_is_scored_on_theirs_and_painted_in_their_colours(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = build_network(TINY, 2, seed=0).state_dict()
    (bias,) = [name for name in weights if "segmentation_head" in name and name.endswith("bias")]
    weights[bias] = torch.tensor([1e6, 0.0])
    save(tmp_path / "few", replace(RECORD, classes=("chair", "floor")), weights, {})
    runs = f"few={tmp_path / 'few'},whole={root / 'study/cells/scratch-2-0'}"
    assert (
        cli(_words(root, tmp_path / "page", "--runs", runs, "--scales", "1", "--pictures", "1", "--layers", "1")) == 0
    )
    assert "knows 2 of the 3 classes; pixels of the others are left out" in capsys.readouterr().out
    few, whole = json.loads((tmp_path / "page/analysis.json").read_text())["rows"]
    assert set(few["scales"][0]["iou"]) == {"chair", "floor"} and len(whole["scales"][0]["iou"]) == 3
    page = (tmp_path / "page/report.html").read_text()
    assert "few knows 2 of 3 classes" in page and "whole knows" not in page
    (first, *_) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    painted = np.array(Image.open(BytesIO(b64decode(first))).convert("RGB")).reshape(-1, 3)
    assert (painted == class_palette(3)[CLASSES.index("chair")]).all()


def test_runs_have_the_names_they_are_given(root: Path) -> None:
    folder = root / "study/cells/scratch-2-0"
    first, second = named_runs([str(folder), f"mine={folder}"])
    assert (first.name, second.name) == ("scratch-2-0", "mine") and first.path == second.path == folder / "checkpoint-4"
    assert first.images == 2 and first.points("loss").tolist() == [[1, 2], [2, 1], [3, 2 / 3], [4, 0.5]]


def test_curves_of_seeds_are_averaged_where_all_have_a_point() -> None:
    one, two = np.array([[1.0, 4], [2, 2], [3, 9]]), np.array([[2.0, 4], [1, 2]])
    points, spread = mean_curve([one, two, np.empty((0, 2))])
    assert points.tolist() == [[1, 3], [2, 3]] and spread is not None and spread.tolist() == pytest.approx([2**0.5] * 2)
    assert mean_curve([one])[1] is None and len(mean_curve([])[0]) == 0


def test_a_long_curve_is_smoothed_and_a_short_one_is_not() -> None:
    line = np.stack([np.arange(400.0), 3 * np.arange(400.0)], 1)
    found = smoothed(line)
    assert len(found) == 391 and np.allclose(found[:, 1], 3 * found[:, 0]) and smoothed(line[:70]) is not None
    assert np.array_equal(smoothed(line[:70]), line[:70])


def test_a_network_sees_sides_of_at_least_32() -> None:
    assert size_at((96, 128), 0.25) == (32, 32) and size_at((96, 128), 1.5) == (144, 192)


def test_the_steps_after_a_checkpoint_are_not_its_own(root: Path) -> None:
    run = Trained("a", 2, 0, root / "study/cells/scratch-2-0/checkpoint-2")
    assert run.points("loss")[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "nothing to analyse: give --study FOLDER, --runs NAME=FOLDER"),
        (["--study", "{root}/data"], "data: expected the folder of a study"),
        (["--runs", "x={root}/nowhere"], "no checkpoint in"),
        (["--study", "{root}/study", "--classes", "cat"], "--classes names 'cat'; the classes are floor"),
        (["--study", "{root}/study", "--scales", "0.5,2"], "--scales are numbers between 0.05 and 20, 1 among them"),
        (["--runs", "{root}/study/cells/scratch-2-0", "--layers", "7"], "layer 7: the encoder has"),
        (["--runs", "{root}/other"], "was trained for 2 classes, the data set has 3"),
    ],
)
def test_a_mistake_is_one_sentence(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    if not (root / "other").exists():
        _run(root / "other", replace(RECORD, classes=("a", "b")))
    given = [word.replace("{root}", str(root)) for word in words]
    assert cli(_words(root, tmp_path, *given)) == 2
    said = capsys.readouterr().err
    assert re.search(re.escape(sentence), said) and said.count("\n") == 1
