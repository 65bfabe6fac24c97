from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fastseg.checkpoint import Record, save
from fastseg.data.augment import UNIT
from fastseg.data.camvid import CLASS_NAMES
from fastseg.evaluate import cli, confusion_of, instance_counts, measured
from fastseg.inference import Views, predictions
from fastseg.metrics import scores, subset
from fastseg.nets import build_network

pytestmark = pytest.mark.torch
NETWORK = "linknet/mobilenetv3_small_050"
RECORD = Record("segment", NETWORK, CLASS_NAMES, UNIT, (32, 64), 5, 1, {})


class Brightness(nn.Module):
    """Class 1 where a pixel is bright, class 0 where it is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        bright = self.scale * (images.mean(1, keepdim=True) - 0.5)
        return torch.cat([-bright, bright], 1)


class Halves:
    """Three images, dark on the left and bright on the right, each of its own size; the last labels are ignored."""

    class_names = ("dark", "bright")

    def ids(self) -> list[str]:
        return ["a", "b", "c"]

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        label = np.zeros((20 + 10 * index, 64), np.uint8)
        label[:, 32:] = 1
        image = np.repeat(label[..., None] * 200, 3, 2)
        return image, label if index < 2 else np.full_like(label, 255)


def test_a_perfect_network_scores_one_at_the_labels_own_sizes() -> None:
    counts = confusion_of(Brightness(), Halves(), (40, 64), UNIT, batch=2)
    assert counts.tolist() == [[50 * 32, 0], [0, 50 * 32]]
    assert scores(counts).miou == 1.0


def test_logits_and_not_classes_are_enlarged() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, :, 16:] = 255
    (found,) = predictions(Brightness(), [image], [(33, 321)], UNIT)
    assert found.shape == (33, 321)
    edge = int((found[0] == 0).sum())
    assert 159 <= edge <= 162  # a nearest enlargement of classes would put it a whole source pixel off


def test_the_batch_size_does_not_change_the_scores() -> None:
    whole = confusion_of(Brightness(), Halves(), (40, 64), UNIT, batch=3)
    assert np.array_equal(whole, confusion_of(Brightness(), Halves(), (40, 64), UNIT, batch=1))


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    root = tmp_path / "camvid"
    for folder in ("val", "valannot"):
        (root / folder).mkdir(parents=True)
    for index in range(3):
        random = np.random.default_rng(index)
        Image.fromarray(random.integers(0, 256, (45, 60, 3), dtype=np.uint8)).save(root / "val" / f"{index}.png")
        label = random.integers(0, 5, (45, 60), dtype=np.uint8)
        label[0, :10] = 11
        Image.fromarray(label).save(root / "valannot" / f"{index}.png")
    return root


def _saved(out: Path, record: Record = RECORD) -> Path:
    return save(out, record, build_network(NETWORK, len(record.classes), seed=1).state_dict(), {})


def test_the_program_writes_the_scores(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = _saved(tmp_path / "run"), tmp_path / "scores.json"
    flags = ["--data", "camvid", "--root", str(camvid), "--split", "val", "--json", str(file), "--device", "cpu"]
    assert cli(["--checkpoint", str(folder), *flags]) == 0
    found = json.loads(file.read_text())
    assert set(found) == {"miou", "global_accuracy", "class_accuracy", "per_class", "image_miou", "protocol"}
    assert [entry["class"] for entry in found["per_class"]] == list(CLASS_NAMES)
    assert sum(entry["pixels"] for entry in found["per_class"]) == 3 * (45 * 60 - 10)
    assert found["per_class"][8] == {"class": "car", "iou": None, "accuracy": None, "pixels": 0}
    assert 0 <= found["miou"] <= 1 and found["protocol"]["size"] == [32, 64]
    assert "pavement" in capsys.readouterr().out
    assert cli(["--checkpoint", str(folder), *flags, "--classes", "sky,road"]) == 0
    chosen = json.loads(file.read_text())
    ious = [entry["iou"] for entry in found["per_class"] if entry["class"] in ("sky", "road")]
    assert chosen["classes_miou"] == pytest.approx(np.mean(ious)) and chosen["protocol"]["split"] == "val"


def test_bad_input_is_one_sentence_and_exit_2_before_the_first_image(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastseg.evaluate.measured", None)
    good, few = _saved(tmp_path / "good"), _saved(tmp_path / "few", replace(RECORD, classes=("wall", "floor")))
    damaged = _saved(tmp_path / "damaged") / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    where = ["--data", "camvid", "--root", str(camvid)]
    cases = {
        ("--checkpoint", str(few), *where): "trained for 2 classes, the data set has 11",
        ("--checkpoint", str(damaged.parent), *where): "model.safetensors is damaged",
        ("--checkpoint", str(tmp_path), *where): "no checkpoint in",
        ("--checkpoint", str(good), *where, "--split", "train"): "train",
        ("--checkpoint", str(good), *where, "--batch", "0"): "at least 1",
        ("--checkpoint", str(good), *where, "--classes", "[cat]"): "--classes names 'cat'; the classes are sky",
        ("--checkpoint", "never looked at", *where, "--json", str(tmp_path)): f"{tmp_path}: cannot be written",
        ("--checkpoint", "never looked at", *where, "--json", str(damaged / "f.json")): f"{damaged}: file exists",
    }
    for words, sentence in cases.items():
        assert cli([*words, "--device", "cpu"]) == 2
        said = capsys.readouterr().err.strip()
        assert sentence in said and "Traceback" not in said


def test_flips_scales_and_windows_of_a_pointwise_network_change_nothing() -> None:
    once = measured(Brightness(), Halves(), (40, 64), UNIT).counts
    for views in (Views(flip=True), Views(window="32x32"), Views(window="32x48", overlap=0.5, flip=True)):
        assert np.array_equal(measured(Brightness(), Halves(), (40, 64), UNIT, views=views).counts, once)


def test_probabilities_of_all_looks_are_averaged() -> None:
    net = build_network("unet/resnet18", 3).eval()
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    (found,) = predictions(net, [image], [(64, 64)], UNIT, Views(flip=True))
    with torch.inference_mode():
        plain, mirrored = (net(UNIT(each[None])).softmax(1)[0] for each in (image, image.flip(-1)))
    assert torch.equal(found, (plain + mirrored.flip(-1)).argmax(0))


def test_windows_cover_every_pixel_and_are_averaged_where_they_overlap() -> None:
    class Position(nn.Module):
        """Class 1 in the right half of whatever it sees, with a probability that tells windows apart."""

        def __init__(self) -> None:
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, images: Tensor) -> Tensor:
            ramp = torch.linspace(-1, 1, images.shape[-1]).expand(images.shape[0], 1, *images.shape[-2:]) + self.zero
            return torch.cat([-ramp, ramp], 1)

    image = torch.zeros(3, 32, 64, dtype=torch.uint8)
    (found,) = predictions(Position(), [image], [(32, 64)], UNIT, Views(window="32x32", overlap=0.0))
    assert found[0].tolist() == ([0] * 16 + [1] * 16) * 2


def test_a_subset_scores_the_pixels_of_its_classes_alone() -> None:
    counts = np.array([[5, 5, 0], [0, 10, 0], [10, 0, 0]])
    kept = scores(subset(counts, ["a", "b"], ["a", "b", "c"]))
    assert kept.iou[0] == 5 / 10 and kept.iou[1] == 10 / 15 and np.isnan(kept.iou[2])
    with pytest.raises(ValueError, match="names 'z'; the classes are a, b, c"):
        subset(counts, ["z"], ["a", "b", "c"])


class Beyond(Halves):
    """The second label holds a class that does not exist."""

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        image, label = super().__getitem__(index)
        return image, label * 7 if index == 1 else label


def test_a_label_beyond_the_classes_is_named_by_its_image() -> None:
    with pytest.raises(ValueError, match=r"^b: a label holds class 7, but there are 2 classes"):
        confusion_of(Brightness(), Beyond(), (40, 64), UNIT)


def test_a_perfect_network_has_perfect_boundaries_and_images() -> None:
    found = measured(Brightness(), Halves(), (40, 64), UNIT, boundaries=True)
    assert [float(np.nanmean(each)) for each in found.boundaries[:2]] == [1.0, 1.0] and len(found.images) == 3


@pytest.mark.parametrize("views", [{"scales": ()}, {"scales": (0.0,)}, {"overlap": 1.0}, {"window": "8"}])
def test_views_that_cannot_be_are_refused(views: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"views\."):
        Views(**views)  # type: ignore[arg-type]


class Things(Halves):
    """The bright half of each image is one thing."""

    def instances(self, index: int) -> np.ndarray:
        label = self[index][1]
        return np.where(label == 1, 7, 0).astype(np.uint16)


def test_things_are_counted_where_the_set_numbers_them() -> None:
    things = instance_counts(Things(), "things")
    found = measured(Brightness(), Things(), (40, 64), UNIT, things=things)
    assert found.things is things and things.niou()[1] == 1.0 and np.isnan(things.niou()[0])
    with pytest.raises(ValueError, match="--instances needs a set whose things are numbered, as cityscapes; halves"):
        instance_counts(Halves(), "halves")
