"""The small parts of the programs that measure label structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import structure_cost as cost
from benchmarks.clean_quality import Config, Labelled, compared, figures
from benchmarks.device_structure import apart, contestants
from benchmarks.label_autoencoders import majority, nyu_folder, of_majority
from fastseg.data.label_maps import open_labels
from fastseg.nets.label_autoencoder import label_autoencoder

pytestmark = pytest.mark.torch


def test_a_cell_is_its_most_frequent_class() -> None:
    label = np.full((20, 32), 255, np.uint8)
    label[:3, :16], label[4:8, :16], label[17:, 16:] = 2, 1, 3
    found = majority(label, 4)
    assert found.shape == label.shape and (found[:16, :16] == 1).all() and (found[16:, 16:] == 3).all()


def test_nyu_maps_become_a_label_folder_with_every_fifth_held_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "classes13.txt").write_text("1 bed\n2 books\n")
    for index in range(6):
        Image.fromarray(np.full((20, 20), index % 3, np.uint8)).save(source / f"map_{index}.png")
    root = nyu_folder(source, tmp_path / "set")
    train, held = (open_labels("labels", root, split) for split in ("train", "val"))
    assert held.ids() == ["map_0", "map_5"] and len(train) == 4 and held.class_names == ["bed", "books"]
    assert (held[0][1] == 255).all() and (held[1][1] == 1).all()
    assert of_majority(held) == {"miou": 1.0, "global_accuracy": 1.0}
    with pytest.raises(FileNotFoundError, match="expected the NYUv2 label maps"):
        nyu_folder(tmp_path / "set", tmp_path / "other")


def test_a_regularisers_share_is_that_of_its_own_round() -> None:
    plain, branch = cost.rows_of({"none": [100.0, 200.0, 100.0], "decoder 32": [110.0, 220.0, 130.0]})
    assert (plain["share"], branch["share"]) == (0.0, 0.1)
    assert branch["within_15_percent"] and branch["ms_median"] == 130.0


def test_a_step_on_a_device_is_raced_with_each_regulariser(tmp_path: Path) -> None:
    config = cost.Config("linknet/mobilenetv3_small_050", "32x32", classes=3, widths=(32,))
    kinds = cost.regularisers(config, tmp_path)
    assert list(kinds) == ["none", "decoder 32", "encoder 32"]
    assert apart(config, kinds["decoder 32"], "cpu") == 0
    calls = contestants(config, kinds, "cpu")
    assert list(calls) == ["fastseg", "decoder 32", "encoder 32"]
    losses = [calls[name](0) for name in calls]
    assert all(np.isfinite(loss) for loss in losses) and losses[1] > losses[0]  # type: ignore[call-overload, operator]


def test_labels_are_scored_before_and_after(tmp_path: Path) -> None:
    exact = np.zeros((32, 32), np.uint8)
    noisy = exact.copy()
    noisy[:8], noisy[8:16] = 255, 1
    maps = Labelled(["a", "b"], ["0"], [noisy], [exact])
    config, net = Config(tmp_path, size="32x32"), label_autoencoder("32", 2)
    assert figures(None, maps, config, 0, False) == {"agreement": round(16 / 24, 5), "labelled_share": 0.75}
    found = compared(net, maps, maps, config)
    assert found["class"]["gain"] >= 0 and found["void"]["labelled_share"] >= 0.95 * 0.75
    assert found["class"]["tried"]["0.0"] == found["before"]
