"""CamVid by epoch: corpora join, scores are read at the right epochs, and every start is trained alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from benchmarks.reproduce import camvid
from fastseg.data.camvid import CamVid

TINY = replace(
    camvid.CPU, network="linknet/mobilenetv3_small_050", size="32x32", pretrain_size="32x32", batch=2, epochs=(1, 3),
    pretrain_steps=2, precision="float32",
)  # fmt: skip


class Corpus:
    """Grey images of one class each, as a label run gives them."""

    def __init__(self, name: str, count: int, classes: int = 4) -> None:
        self.name, self.count = name, count
        self.class_names = [f"bin {index}" for index in range(classes)]
        self.metadata = {"fingerprint": name}

    def ids(self) -> list[str]:
        return [f"{self.name}/{index}" for index in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        return np.full((40, 48, 3), 60 * index, np.uint8), np.full((40, 48), index, np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 2)):
        for index in range(count):
            label = random.integers(0, 12, (36, 48), dtype=np.uint8)
            label[:20] = 3
            for folder, picture in ((split, np.stack([20 * label] * 3, -1)), (f"{split}annot", label)):
                (tmp_path / "camvid" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(tmp_path / "camvid" / folder / f"{index}.png")
    return tmp_path / "camvid"


def test_joined_corpora_follow_each_other() -> None:
    joined = camvid.Joined([Corpus("kitchen", 2), Corpus("rooms", 3)])
    assert joined.ids() == ["kitchen/0", "kitchen/1", "rooms/0", "rooms/1", "rooms/2"] and len(joined) == 5
    assert [int(joined[index][1][0, 0]) for index in range(5)] == [0, 1, 0, 1, 2]
    assert joined.metadata["fingerprint"] == "kitchen+rooms"


def test_corpora_of_different_bins_do_not_join() -> None:
    with pytest.raises(ValueError, match="different bins"):
        camvid.Joined([Corpus("kitchen", 2), Corpus("rooms", 3, classes=6)])


def test_scores_and_seconds_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines: list[dict[str, float]] = [{"step": 5, "images_per_s": 4.0}, {"step": 8, "images_per_s": 3.0}]
    lines += [{"step": step, "miou": step / 8, "global_accuracy": 0.5, "class_accuracy": 0.25} for step in (4, 8)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert camvid.seconds(path, batch=2) == pytest.approx(2 * 5 / 4 + 2 * 3 / 3)
    assert camvid.by_epoch(path, (1, 2), 4) == [
        {"epoch": 1, "global_accuracy": 0.5, "class_accuracy": 0.25, "miou": 0.5},
        {"epoch": 2, "global_accuracy": 0.5, "class_accuracy": 0.25, "miou": 1.0},
    ]


def test_the_commonest_class_leaves_void_out(root: Path) -> None:
    found = camvid.commonest(CamVid(root, "val"))
    labels = np.stack([np.array(Image.open(path)) for path in (root / "valannot").iterdir()])
    assert found["class"] == "road"
    assert found["global_accuracy"] == pytest.approx((labels == 3).sum() / (labels != 11).sum())


def test_the_paper_protocol_is_the_papers() -> None:
    assert camvid.PAPER.network == "segnet/vgg16_bn" and camvid.PAPER.size == "360x480"
    assert camvid.PAPER.epochs == (5, 10, 50, 100) and camvid.PAPER.batch == 4
    assert camvid.PAPER.pretrain_steps == 200_000


@pytest.mark.torch
def test_every_start_is_trained_alike_and_a_second_run_trains_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(camvid.PROTOCOLS, "cpu", TINY)
    monkeypatch.setattr(camvid, "shards", lambda folders: camvid.Joined([Corpus(name, 2) for name in folders.split()]))
    config = camvid.Config(root, "kitchen rooms", tmp_path / "out", seeds=2, device="cpu", threads=1, workers=0)
    assert camvid.main(config) == 0
    result = json.loads(next((tmp_path / "out").glob("camvid-cpu-*.json")).read_text())["result"]
    assert [(run["start"], run["seed"]) for run in result["runs"]] == [("none", 0), ("hn", 0), ("none", 1), ("hn", 1)]
    assert all([row["epoch"] for row in run["epochs"]] == [1, 3] for run in result["runs"])
    assert all(0 <= row[name] <= 1 for run in result["runs"] for row in run["epochs"] for name in camvid.MEASURES)
    assert result["pretraining"]["images"] == [2, 2] and result["images"] == {"train": 5, "validation": 2}
    configs = [json.loads((tmp_path / "out" / f"{start}-1" / "config.json").read_text()) for start in ("none", "hn")]
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} == {"out", "init_from"}
    assert (tmp_path / "out" / "hn-1" / "transfer.json").is_file()
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}
    assert camvid.main(config) == 0
    assert weights == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}
