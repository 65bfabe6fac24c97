"""Continued pre-training in small: published weights, then HN-labels of one's own recordings, then segmentation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fastseg import export, predict
from fastseg.checkpoint import load
from fastseg.data.augment import Normalisation, resized
from fastseg.data.rooms import RoomImages, Rooms
from fastseg.data.shards import ShardWriter
from fastseg.evaluate import cli as evaluate
from fastseg.frames import FrameError
from fastseg.inference import predictions, restored
from fastseg.labels.hn import HNConfig, label_frame
from fastseg.nets import build_network
from fastseg.train import cli as train
from fastseg.weights import read_source

pytestmark = pytest.mark.torch
ENCODER = "mobilenetv3_small_050"
NETWORK = f"linknet/{ENCODER}"
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FLAGS = ["--network", NETWORK, "--size", "48x64", "--batch", "2", "--steps", "2", "--loop.device", "cpu"]
FLAGS += ["--loop.workers", "0", "--loop.threads", "1"]


def _published(folder: Path) -> Path:
    """An encoder's weights as timm saves them for others: config.json says mean and std of a half."""
    folder.mkdir()
    torch.manual_seed(11)
    weights = timm.create_model(ENCODER, pretrained=False).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    stated = {"mean": list(HALF.mean), "std": list(HALF.std), "input_size": [3, 224, 224]}
    (folder / "config.json").write_text(json.dumps({"architecture": ENCODER, "pretrained_cfg": stated}))
    return folder


def _labelled(root: Path) -> Path:
    """The label run of a walk through rooms, one's own recordings."""
    rooms, config, found = Rooms(seed=5, count=12, views=4), HNConfig(), {}
    for name in rooms.ids():
        try:
            found[name] = label_frame(rooms.load(name), config)
        except FrameError:  # no floor in sight
            continue
    (root / "labels").mkdir(parents=True)
    edges = next(iter(found.values())).height_edges.tolist()
    about = {"fingerprint": "abc", "hn": {"n_height": 10, "n_normal": 2, "height_edges": edges}}
    (root / "run.json").write_text(json.dumps({"counts": {"frames": 12, "labels": len(found), "rejected": {}}}))
    with ShardWriter(root / "labels" / "00000.parquet", about) as writer:
        for name, label in found.items():
            height, width = label.label.shape
            names = ("floor_m", "aligned_fraction", "valid_fraction", "disagreement_deg")
            row = {"id": name, "image": rooms.load(name).image, "label": label.label.tobytes()}
            row |= {"height": height, "width": width, "up": label.up.tolist(), "bins": label.histogram.tolist()}
            writer.add({**row, **{each: getattr(label, each) for each in names}})
        writer.commit()
    return root


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with published/, hn/, segment/ and set/, trained one from the other."""
    here = tmp_path_factory.mktemp("chain")
    _published(here / "published")
    labels = _labelled(here / "labels")
    (here / "set").mkdir()
    for split, seed in (("train", 1), ("val", 2)):
        room = {"seed": seed, "count": 3, "height": 96, "width": 128}
        (here / "set" / f"{split}.json").write_text(json.dumps(room))
    begun = ["--init-from", str(here / "published")]
    assert train(["hn", "--root", str(labels), "--out", str(here / "hn"), *begun, *FLAGS]) == 0
    words = ["--data", "rooms", "--root", str(here / "set"), "--out", str(here / "segment")]
    assert train(["segment", *words, "--init-from", str(here / "hn"), *FLAGS]) == 0
    return here


def test_each_stage_says_where_every_weight_came_from(chain: Path) -> None:
    first, second = (json.loads((chain / name / "transfer.json").read_text()) for name in ("hn", "segment"))
    state = build_network(NETWORK, 20).state_dict()
    assert first["source"] == str(chain / "published") and not first["history"]
    assert set(first["matched"]) == {name for name in state if name.startswith("encoder.")}
    assert second["source"] == str(chain / "hn" / "checkpoint-2") and second["history"] == [str(chain / "published")]
    assert set(second["missing"]) == {"segmentation_head.0.weight", "segmentation_head.0.bias"}
    assert set(second["matched"]) == set(state) - set(second["missing"])


def test_the_first_weights_normalisation_goes_all_the_way(chain: Path, tmp_path: Path) -> None:
    assert load(chain / "hn").record.normalisation == load(chain / "segment").record.normalisation == HALF
    assert export.cli([str(chain / "segment"), "--out", str(tmp_path)]) == 0
    assert read_source(str(tmp_path / "model.safetensors")).normalisation == HALF
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert f"mean {HALF.mean}, std {HALF.std}" in card
    assert str(chain / "hn") in card and str(chain / "published") in card
    facts = (tmp_path / "model.safetensors").read_bytes()[:20_000]
    assert b"normalisation" in facts and load_file(tmp_path / "model.safetensors")


def test_evaluating_and_predicting_normalise_as_the_first_weights_expect(chain: Path, tmp_path: Path) -> None:
    found = load(chain / "segment")
    image, label = RoomImages(seed=2, count=3, height=96, width=128)[0]
    Image.fromarray(image).save(tmp_path / "room.png")
    assert predict.cli([str(chain / "segment"), str(tmp_path / "room.png"), "--out", str(tmp_path / "p")]) == 0
    look = [resized(image, found.record.size)]
    (expected,) = predictions(restored(found), look, [label.shape], HALF)
    with Image.open(tmp_path / "p" / "room.png") as painted:
        assert np.array_equal(np.asarray(painted), expected.numpy())
    where = ["--data", "rooms", "--root", str(chain / "set"), "--json", str(tmp_path / "s.json"), "--device", "cpu"]
    assert evaluate(["--checkpoint", str(chain / "segment"), *where]) == 0
    right = total = 0
    for index in range(3):
        image, label = RoomImages(seed=2, count=3, height=96, width=128)[index]
        (guess,) = predictions(restored(found), [resized(image, found.record.size)], [label.shape], HALF)
        right, total = right + int((guess.numpy() == label)[label != 255].sum()), total + int((label != 255).sum())
    assert json.loads((tmp_path / "s.json").read_text())["global_accuracy"] == pytest.approx(right / total)


def test_a_configuration_that_is_none_is_one_sentence(chain: Path, tmp_path: Path) -> None:
    weights = chain / "published" / "model.safetensors"
    cases = {"{": "expected timm's configuration", '{"mean": [1], "std": [1, 1, 1]}': "must be three numbers"}
    cases |= {'{"mean": [0, 0, 0], "std": [0, 1, 1]}': "must be positive", "[]": "expected timm's configuration"}
    (tmp_path / "model.safetensors").write_bytes(weights.read_bytes())
    for content, sentence in cases.items():
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=sentence):
            read_source(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {}, **asdict(HALF)}))
    assert read_source(str(tmp_path)).normalisation is None
