"""`fastseg train pssl` on label shards of two pictures' kinds: its data, its loss, its refusals, and a run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastseg.checkpoint import load
from fastseg.data.augment import augment
from fastseg.data.hn_shards import HNShards
from fastseg.data.pssl_shards import PSSLShards, number_of, painted
from fastseg.data.shards import PSSL_SCHEMA, Row, ShardWriter
from fastseg.labels.pssl_config import packed
from fastseg.methods.pssl import EPOCH, PSSL
from fastseg.paint import cli as paint
from fastseg.train import cli as train
from fastseg.train import main

pytestmark = pytest.mark.torch
NETWORK = "linknet/mobilenetv3_small_050"


def shards(folder: Path, classes: int = 2, pictures: int = 4, **changed: Any) -> Path:
    """A PSSL run of pictures of the last class, the right half of each in the top decile."""
    (folder / "labels").mkdir(parents=True)
    about = {"classes": [f"class-{i}" for i in range(classes)], "models": ["m"], "samples": 2}
    with ShardWriter(folder / "labels/0.parquet", {"fingerprint": "a", "pssl": about}, PSSL_SCHEMA) as writer:
        for index in range(pictures):
            writer.add(row(index, classes - 1) | changed)
        writer.commit()
    return folder


def row(index: int, number: int) -> Row:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(index).integers(0, 256, (50, 40, 3), np.uint8)).save(file, "PNG")
    deciles = np.zeros((32, 32), np.uint8)
    deciles[:, 16:] = 9
    figures = {"samples": 2, "changed": float("nan"), "probability": 0.5, "right": 1.0}
    size = {"height": 32, "width": 32}
    return {"id": f"a/{index}", "image": file.getvalue(), "class": number, "deciles": packed(deciles)} | size | figures


def method(root: Path, out: Path, **changed: Any) -> PSSL:
    return PSSL(str(root), out, **({"network": NETWORK, "size": "32x32", "steps": 2, "batch": 2} | changed))


def test_the_defaults_are_the_papers() -> None:
    one = PSSL("labels", Path("run"))
    assert (one.size, one.batch, one.background) == ("256x256", 64, 0.1) and one.steps == 30 * EPOCH
    assert (one.optim.lr, one.optim.step_at, one.optim.step_factor) == (0.01, (20 * EPOCH,), 0.1)


def test_a_pictures_label_is_its_class_in_the_top_decile_and_background_elsewhere(tmp_path: Path) -> None:
    found = PSSLShards(shards(tmp_path))
    image, label = found[0]
    assert image.shape == (32, 32, 3) and label.dtype == np.uint8 and found.class_names[-1] == "background"
    assert (label[:, 16:] == 1).all() and (label[:, :16] == 2).all() and "deciles" not in found.stats(0)


def test_no_class_has_the_number_that_means_not_seen(tmp_path: Path) -> None:
    found = PSSLShards(shards(tmp_path, classes=1000))
    image, label = found[0]
    assert label.dtype == np.uint16 and set(np.unique(label).tolist()) == {1000, 1001}
    assert len(found.class_names) == 1002 and found.class_names[255] == "(none)"
    assert [number_of(n) for n in (0, 254, 255, 999)] == [0, 254, 256, 1000]
    seen = augment(image, label, (40, 40), method(tmp_path, tmp_path).augment, (0, 0, 3)).label
    assert set(seen.unique().tolist()) <= {255, 1000, 1001} and seen.shape == (40, 40)


def test_the_background_counts_a_tenth(tmp_path: Path) -> None:
    one = method(tmp_path, tmp_path)
    assert one.weights(3).tolist() == pytest.approx([1, 1, 0.1])


def test_a_run_trains_on_some_of_the_pictures_and_saves(tmp_path: Path) -> None:
    root = shards(tmp_path / "labels")
    flags = ["--network", NETWORK, "--size", "32x32", "--batch", "2", "--steps", "2", "--images", "3"]
    flags += ["--loop.device", "cpu", "--loop.workers", "0", "--loop.threads", "1"]
    assert train(["pssl", "--root", str(root), "--out", str(tmp_path / "run"), *flags]) == 0
    found = load(tmp_path / "run")
    assert found.record.classes == ("class-0", "class-1", "background")
    assert all(bool(torch.isfinite(value).all()) for value in found.weights.values())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": -1}, "--images"),
        ({"background": 0.0}, "--background"),
        ({"images": 9}, "9 are more than the 4"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    root = shards(tmp_path / "labels")
    with pytest.raises(ValueError, match=said):
        main(method(root, tmp_path / "run", **changed))


def test_shards_of_another_kind_or_without_pictures_are_refused(tmp_path: Path) -> None:
    bare = PSSLShards(shards(tmp_path / "bare", image=None))
    with pytest.raises(ValueError, match="'a/0' has a label but no picture"):
        bare[0]
    with pytest.raises(ValueError, match="holds no HN-labels"):
        _ = HNShards(tmp_path / "bare").class_names


def test_deciles_and_masks_come_back_as_pixels() -> None:
    assert np.unique(np.asarray(painted(row(0, 1), "deciles"))).tolist() == [0, 9]
    mask = np.asarray(painted(row(0, 1), "mask"))
    assert (mask[:, 16:] == 255).all() and (mask[:, :16] == 0).all()


def test_a_run_is_painted_one_picture_an_image(tmp_path: Path) -> None:
    assert paint(["--run", str(shards(tmp_path / "run")), "--out", str(tmp_path / "out"), "--kind", "mask"]) == 0
    with Image.open(tmp_path / "out/a/3.png") as image:
        assert image.size == (32, 32) and np.unique(np.asarray(image)).tolist() == [0, 255]


def test_an_autoencoder_of_its_maps_regularises_pretraining_on_them(tmp_path: Path) -> None:
    root = shards(tmp_path / "run")
    sizes = ["--root", str(root), "--size", "32x32", "--steps", "2", "--batch", "2", "--loop.workers", "0"]
    words = ["label-autoencoder", "--data", "shards", "--widths", "32", "--out", str(tmp_path / "maps")]
    assert train([*words, *sizes]) == 0
    assert load(tmp_path / "maps").record.classes == ("class-0", "class-1", "background")
    branch = ["--regulariser", "encoder", "--regulariser.autoencoder", str(tmp_path / "maps")]
    assert train(["pssl", "--network", NETWORK, "--out", str(tmp_path / "net"), *sizes, *branch]) == 0
    assert (tmp_path / "net" / "regulariser.json").is_file()
