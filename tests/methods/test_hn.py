from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastseg.checkpoint import load
from fastseg.data.places import place
from fastseg.data.shards import ShardWriter
from fastseg.evaluate import cli as evaluate
from fastseg.methods.hn import HN
from fastseg.train import cli as train
from fastseg.train import main

pytestmark = pytest.mark.torch
NETWORK = "linknet/mobilenetv3_small_050"
FLAGS = ["--network", NETWORK, "--size", "32x48", "--batch", "2", "--steps", "2", "--loop.device", "cpu"]
FLAGS += ["--loop.workers", "0", "--loop.threads", "1"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A label run of five frames: two normal bins of two heights each."""
    folder = tmp_path / "run" / "labels"
    folder.mkdir(parents=True)
    metadata = {"fingerprint": "abc", "hn": {"n_height": 2, "n_normal": 2, "height_edges": [0.5]}}
    with ShardWriter(folder / "00000.parquet", metadata) as writer:
        for index in range(5):
            writer.add(_row(index))
        writer.commit()
    return tmp_path / "run"


def _row(index: int) -> dict[str, object]:
    random = np.random.default_rng(index)
    label = random.integers(0, 4, (40, 60), dtype=np.uint8)
    label[:5] = 255
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(file, "PNG")
    figures = {"floor_m": 1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    size = {"height": 40, "width": 60, "up": [0.0, -1.0, 0.0], "bins": [1, 1, 1, 1]}
    return {"id": f"room/{index}", "image": file.getvalue(), "label": label.tobytes(), **size, **figures}


def test_the_defaults_are_the_papers() -> None:
    method = HN("labels", Path("run"))
    assert (method.network, method.size, method.steps, method.batch) == ("segnet/vgg16_bn", "424x560", 200_000, 4)
    assert (method.optim.lr, method.optim.momentum, method.optim.weight_decay) == (1e-3, 0.9, 5e-4)
    assert method.optim.optimizer == "sgd"


def _two_runs(folder: Path) -> str:
    """A folder of two label runs, a and b."""
    for name, own in (("b", "abc"), ("a", "abd")):
        labels = folder / name / "labels"
        labels.mkdir(parents=True)
        hn = {"n_height": 2, "n_normal": 2, "height_edges": [0.5]}
        with ShardWriter(labels / "00000.parquet", {"fingerprint": own, "hn": hn}) as writer:
            for index in range(2 if name == "a" else 3):
                writer.add({**_row(index), "id": f"{name}/{index}"})
            writer.commit()
    return str(folder)


def test_several_label_runs_in_a_folder_are_one_set(shards: Path, tmp_path: Path) -> None:
    found = HN(_two_runs(tmp_path / "runs"), tmp_path / "out").examples()
    assert found.ids() == ["a/0", "a/1", "b/0", "b/1", "b/2"] and len(found) == 5
    alone = HN(str(shards), tmp_path / "out").examples()
    assert (found[3][1] == alone[1][1]).all() and (found[-1][0] == found[4][0]).all()
    with pytest.raises(IndexError, match="index 5 is out of range"):
        found[5]


def test_shards_to_pre_training_to_segmentation(shards: Path, tmp_path: Path) -> None:
    assert train(["hn", "--root", str(shards), "--out", str(tmp_path / "hn"), *FLAGS]) == 0
    found = load(tmp_path / "hn").record
    assert found.method == "hn" and len(found.classes) == 4 and "parallel to floor x above 0.50 m" in found.classes
    scores = tmp_path / "hn.json"
    where = ["--data", "shards", "--root", str(shards), "--json", str(scores), "--device", "cpu"]
    assert evaluate(["--checkpoint", str(tmp_path / "hn"), *where]) == 0
    assert len(json.loads(scores.read_text())["per_class"]) == 4

    images = _camvid(tmp_path / "images")
    out = ["--out", str(tmp_path / "segment"), "--init-from", str(tmp_path / "hn"), "--transfer.freeze", "1"]
    assert train(["segment", "--data", "camvid", "--root", str(images), *out, *FLAGS]) == 0
    before, after = load(tmp_path / "hn"), load(tmp_path / "segment")
    stem = "encoder.model.conv_stem.weight"
    assert torch.equal(after.weights[stem], before.weights[stem])
    assert after.record.classes[0] == "sky" and after.record.normalisation == before.record.normalisation


def _camvid(root: Path) -> Path:
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for index in range(3):
            random = np.random.default_rng(index)
            colour = random.integers(0, 256, (36, 48, 3), dtype=np.uint8)
            Image.fromarray(colour).save(root / split / f"f{index}.png")
            label = random.integers(0, 12, (36, 48), dtype=np.uint8)
            Image.fromarray(label).save(root / f"{split}annot" / f"f{index}.png")
    return root


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--size", "32"], "--size is HEIGHTxWIDTH"),
        (["--steps", "0"], "at least 1"),
        (["--optim.lr", "-1"], "positive number"),
        (["--network", "unet/resnet81"], "nearest known"),
        (["--init-from", "nowhere"], "no such checkpoint folder"),
        (["--batch", "9"], "there are 5"),
        (["--optim.clip", "-1"], "must not be negative"),
        (["--loop.device", "cuda:99999x"], "device is auto, cpu, cuda"),
        (["--augment.flip", "2"], "probability"),
        (["--colour", "red"], "colour"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    assert train(["hn", "--root", str(shards), "--out", str(tmp_path / "out"), *FLAGS, *flags]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "Traceback" not in said and "\n" not in said


def test_a_folder_without_shards_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["hn", "--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no label shards" in capsys.readouterr().err


def test_shards_in_a_store_are_trained_and_scored_on(shards: Path, tmp_path: Path) -> None:
    store = place("memory://hn-store/corpus/labels")
    store.mkdir(parents=True)
    (store / "00000.parquet").write_bytes((shards / "labels" / "00000.parquet").read_bytes())
    root, out = ["--root", "memory://hn-store/corpus"], ["--out", str(tmp_path / "out")]
    assert train(["hn", *root, *out, *FLAGS]) == 0
    assert load(tmp_path / "out").record.config["root"] == "memory://hn-store/corpus"
    assert train(["hn", *root, *out, *FLAGS, "--steps", "3", "--resume"]) == 0
    scored = ["--checkpoint", str(tmp_path / "out"), "--data", "shards", "--device", "cpu", "--threads", "1"]
    assert evaluate([*scored, *root]) == 0
    assert evaluate([*scored, "--root", _two_runs(tmp_path / "runs")]) == 0


def test_a_method_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["hm"]) == 2 and "hn|segment|classify" in capsys.readouterr().err
    assert train(["--help"]) == 0 and "hn|segment|classify" in capsys.readouterr().out


def test_the_program_takes_a_configuration_as_an_object(shards: Path, tmp_path: Path) -> None:
    from fastseg.methods import LoopConfig

    loop = LoopConfig(device="cpu", workers=0, threads=1)
    method = HN(str(shards), tmp_path / "out", network=NETWORK, size="32x48", steps=1, batch=2, loop=loop)
    assert main(method) == 0


def test_label_shards_teach_an_autoencoder_that_regularises_pretraining_on_them(shards: Path, tmp_path: Path) -> None:
    sizes = [*FLAGS[2:], "--root", str(shards)]
    words = ["label-autoencoder", "--data", "shards", "--widths", "32", "--out", str(tmp_path / "autoencoder")]
    assert train([*words, *sizes]) == 0
    branch = ["--regulariser", "decoder", "--regulariser.autoencoder", str(tmp_path / "autoencoder")]
    assert train(["hn", "--network", NETWORK, "--out", str(tmp_path / "hn"), *sizes, *branch]) == 0
    proof = json.loads((tmp_path / "hn" / "regulariser.json").read_text())
    assert proof["sha256_before"] == proof["sha256_now"]
    assert not any(key.startswith("regulariser.") for key in load(tmp_path / "hn").weights)
