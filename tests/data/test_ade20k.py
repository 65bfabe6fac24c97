from __future__ import annotations

from pathlib import Path

import pytest
from labelled_kits import KITS

from fastseg.data.ade20k import CLASS_NAMES, Ade20k

KIT = KITS["ade20k"]


def test_the_150_classes_begin_with_wall_and_end_with_flag() -> None:
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) == 150
    assert (CLASS_NAMES[0], CLASS_NAMES[12], CLASS_NAMES[20], CLASS_NAMES[126], CLASS_NAMES[149]) == (
        "wall", "person", "car", "animal", "flag",
    )  # fmt: skip


def test_an_id_is_the_folder_and_the_name(tmp_path: Path) -> None:
    root = KIT.write(tmp_path)
    assert Ade20k(root, "val").ids() == ["validation/ADE_val_00000001", "validation/ADE_val_00000002"]
    assert Ade20k(root / "ADEChallengeData2016", "val").ids() == Ade20k(root, "val").ids()


def test_a_split_without_its_folder_is_said(tmp_path: Path) -> None:
    root = KIT.write(tmp_path)
    with pytest.raises(FileNotFoundError, match="images/training: expected a folder"):
        Ade20k(root, "train")
    with pytest.raises(FileNotFoundError, match="annotations or ADEChallengeData2016/annotations"):
        Ade20k(tmp_path / "ADEChallengeData2016" / "images", "val")
