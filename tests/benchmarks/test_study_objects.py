"""The objects of the PSSL study: exact masks, classes that can be told, and what the study reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.objects import CLASSES, NAMES, draw
from benchmarks.study_objects import cli
from fastseg.data.class_pictures import open_pictures
from fastseg.data.image_folder import ImageFolder
from fastseg.data.sources import open_labelled


@pytest.mark.parametrize("kind", range(len(CLASSES)))
def test_an_object_is_what_its_mask_says(kind: int) -> None:
    image, label = draw((3, kind), [kind], 64)
    assert set(np.unique(label)) == {0, kind + 1} and 0.01 < (label > 0).mean() < 0.25
    without = draw((3, kind), [], 64)[0]  # the same ground, light and things; other noise
    apart = np.abs(image.astype(int) - without).mean(2)
    assert np.median(apart[label > 0]) > 3 * np.median(apart[label == 0])
    assert np.percentile(apart[label == 0], 95) < 30  # nothing else has moved, but for the object's edge


def test_nearer_objects_hide_farther_ones_and_pictures_follow_from_their_seed() -> None:
    _, label = draw((4, 1), [0, 6], 64)
    assert set(np.unique(label)) == {0, 1, 7}
    assert np.array_equal(draw((4, 1), [0, 6], 64)[0], draw((4, 1), [0, 6], 64)[0])
    assert not np.array_equal(draw((4, 2), [0, 6], 64)[0], draw((4, 1), [0, 6], 64)[0])


def test_classified_and_labelled_pictures_are_written_as_the_study_reads_them(tmp_path: Path) -> None:
    words = ["--classified", "16", "--val", "8", "--labelled", "3", "--test", "2", "--size", "32"]
    assert cli(["--out", str(tmp_path), *words]) == 0
    train = ImageFolder(tmp_path / "classified", "train")
    assert len(train) == 16 and tuple(train.class_names) == CLASSES
    assert len(ImageFolder(tmp_path / "classified", "val")) == 8
    assert len(open_pictures("imagefolder", tmp_path / "classified" / "train").ids()) == 16
    labelled = [open_labelled("folder", str(tmp_path / "labelled"), split) for split in ("train", "val")]
    assert [len(each) for each in labelled] == [3, 2] and tuple(labelled[0].class_names) == NAMES
    image, label = labelled[0][0]
    assert image.shape == (32, 32, 3) and label.max() > 0
