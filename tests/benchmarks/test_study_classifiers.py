"""The classifiers of the PSSL study: trained, listed as the pipeline reads them, and gone on with where they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import study_classifiers, study_objects
from benchmarks.objects import CLASSES
from fastseg.classifiers import open_member, read_classifiers
from fastseg.compare_study import read_study

pytestmark = pytest.mark.torch
STUDY = Path(__file__).parents[2] / "benchmarks" / "studies" / "pssl.yaml"


def test_they_are_trained_listed_and_opened_with_the_classes_of_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--classified", "16", "--val", "8", "--labelled", "0", "--test", "0", "--size", "32"]
    assert study_objects.cli(["--out", str(tmp_path), *words]) == 0
    root, out = tmp_path / "classified", tmp_path / "classifiers"
    words = ["--root", str(root), "--out", str(out), "--size", "32", "--steps", "2", "--batch", "4"]
    assert study_classifiers.cli(words) == study_classifiers.cli(words) == 0
    assert "trained already" in capsys.readouterr().out
    models = read_classifiers(out / "models.json")
    assert [model.name for model in models] == ["0-test_resnet", "1-test_resnet", "2-test_resnet"]
    member = open_member(models[0], CLASSES[::-1])
    assert member.size == 32 and member.columns == tuple(range(len(CLASSES)))[::-1]


def test_the_study_has_what_the_issue_names() -> None:
    study = read_study(STUDY)
    names = [variant.name for variant in study.variants]
    assert names[:3] == ["scratch", "classification", "pssl"] and len(study.seeds) == 3
    weights = {stage.fields["background"] for stage in study.pretrain}
    assert weights == {0.001, 0.01, 0.1, 1.0} and len({stage.fields.get("images", 0) for stage in study.pretrain}) == 4
    first = study_classifiers.names(study_classifiers.StudyClassifiers(Path(), Path()))[0]
    assert study.variants[1].init == f"runs/study_objects/classifiers/{first}"
