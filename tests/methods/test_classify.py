from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastseg.checkpoint import load
from fastseg.data.batches import Batch
from fastseg.evaluate import cli as evaluate
from fastseg.frames import LabelledImages
from fastseg.inference import restored
from fastseg.methods.classify import Classify
from fastseg.nets import Classifier, blocks, build_network, logits
from fastseg.train import cli as train
from fastseg.train import main

pytestmark = pytest.mark.torch
NETWORK = "linknet/mobilenetv3_small_050"
FLAGS = [
    *("--network", NETWORK, "--size", "32x32", "--batch", "4", "--optim.lr", "0.01", "--steps", "4"),
    *("--loop.device", "cpu", "--loop.workers", "0", "--loop.threads", "1", "--loop.log_every", "1"),
]
CLASSES, RECORD = 100, 3074


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """CIFAR-100's binary version, a few records: class 0 is dark, class 1 bright."""
    folder = tmp_path / "cifar" / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "fine_label_names.txt").write_text("".join(f"thing_{number}\n" for number in range(CLASSES)))
    for split, count in (("train", 12), ("test", 6)):
        random = np.random.default_rng(count)
        records = random.integers(0, 40, (count, RECORD), dtype=np.uint8)
        records[:, 1] = np.arange(count) % 2
        records[1::2, 2:] += 200
        (folder / f"{split}.bin").write_bytes(records.tobytes())
    return tmp_path / "cifar"


def _run(root: Path, out: Path, *flags: str) -> int:
    return train(["classify", "--data", "cifar100", "--root", str(root), "--out", str(out), *FLAGS, *flags])


def _digest(out: Path) -> str:
    found = load(out, state=True)
    digest = hashlib.sha256()
    for part in (found.weights, found.state):
        for name in sorted(part):
            digest.update(name.encode() + part[name].numpy().tobytes())
    return digest.hexdigest()


def test_an_encoder_learns_the_classes_of_whole_images(cifar: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--network", "unet/resnet18", "--steps", "20", "--loop.eval_every", "20", "--augment.jitter", "0")
    assert _run(cifar, out, *flags) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] > 3 > lines[19]["loss"] and lines[-1]["top5"] == 1 and lines[-1]["top1"] > 0.8
    record = load(out).record
    assert (record.method, record.network, len(record.classes)) == ("classify", "classify/unet/resnet18", CLASSES)
    net = restored(load(out))
    assert isinstance(net, Classifier) and logits(net, torch.rand(2, 3, 45, 61)).shape == (2, CLASSES)


def test_top_one_and_top_five_count_the_ranks() -> None:
    method = Classify("cifar100", "x", Path("y"), batch=2)
    ranks = [0, 0, 3, 4, 5, 9]

    class Ranked(torch.nn.Module):
        """Scores that put an image's class at the rank that its red says."""

        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Parameter(torch.ones(()))
            self.encoder = torch.nn.Identity()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            rank = images[:, 0, 0, 0].round().long()
            return -(torch.arange(10.0) - rank[:, None]).remainder(10)  # class c at rank (c - rank) mod 10

    class Images:
        class_names = tuple("abcdefghij")

        def ids(self) -> list[str]:
            return [str(rank) for rank in ranks]

        def __len__(self) -> int:
            return len(ranks)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return np.full((32, 32, 3), 10 - ranks[index], np.uint8) % 10, np.array(0, np.uint16)

    from fastseg.data.augment import Normalisation

    plain = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    assert method.ranked(Ranked(), Images(), plain).tolist() == [2, 4, 6]


def test_a_killed_run_goes_on_to_the_same_bits(cifar: Path, tmp_path: Path) -> None:
    straight, broken = tmp_path / "a", tmp_path / "b"
    assert _run(cifar, straight) == 0

    class Stopped(Classify):
        def batches(self, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
            for batch in super().batches(examples, start):
                if batch.step == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    found = load(straight).record.config
    assert found["optim"]["lr"] == 0.01 and found["optim"]["schedule"] == "cosine"
    from fastseg.methods import LoopConfig, OptimConfig

    loop, optim = LoopConfig(**found["loop"]), OptimConfig(lr=0.01, schedule="cosine")
    method = Stopped(
        "cifar100", str(cifar), broken, network=NETWORK, size="32x32", batch=4, steps=4, optim=optim, loop=loop
    )
    assert main(method) == 128 + signal.SIGTERM
    assert _run(cifar, broken, "--resume") == 0 and _digest(straight) == _digest(broken)


@pytest.mark.parametrize("mode", ["all", "encoder"])
def test_what_it_learnt_starts_a_segmentation(cifar: Path, tmp_path: Path, mode: str) -> None:
    assert _run(cifar, tmp_path / "cifar_run", "--steps", "2") == 0
    images = tmp_path / "images"
    for split in ("train",):
        for index in range(4):
            random = np.random.default_rng(index)
            for folder, shape, high in ((split, (36, 48, 3), 256), (f"{split}annot", (36, 48), 12)):
                (images / folder).mkdir(parents=True, exist_ok=True)
                array = random.integers(0, high, shape, dtype=np.uint8)
                Image.fromarray(array).save(images / folder / f"f{index}.png")
    out = tmp_path / "segment"
    words = ["--init-from", str(tmp_path / "cifar_run"), "--transfer.mode", mode, "--transfer.freeze", "1"]
    assert train(["segment", "--data", "camvid", "--root", str(images), "--out", str(out), *words, *FLAGS]) == 0
    report = json.loads((out / "transfer.json").read_text())
    wanted = {key for key in build_network(NETWORK, 11).state_dict() if key.startswith("encoder.")}
    assert set(report["matched"]) == wanted and set(report["dropped"]) == {"classifier.weight", "classifier.bias"}
    stem = "encoder.model.conv_stem.weight"
    assert torch.equal(load(out).weights[stem], load(tmp_path / "cifar_run").weights[stem])


def test_a_folder_for_each_class_is_trained_on(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog", "eel")):
            for index in range(2):
                path = tmp_path / split / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((40, 50, 3), 80 * number, np.uint8)).save(path)
    words = ["--data", "imagefolder", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    extra = ["--loop.eval_every", "2", "--loop.eval_split", "val", "--optim.class_weights", "median"]
    assert train(["classify", *words, *FLAGS, *extra]) == 0
    assert load(tmp_path / "out").record.classes == ("cat", "dog", "eel")


@pytest.mark.parametrize(
    "name",
    [
        "segnet/vgg11_bn",
        "hypercolumn/densenet67",
        "unet/resnet18",
        "ocrnet/hrnet_w18_small",
        "dpt/vit_tiny_patch16_224",
    ],
)
def test_every_part_of_an_encoder_is_under_its_own_name_and_learns(name: str) -> None:
    net, plain = build_network(f"classify/{name}", 10, 1).eval(), build_network(name, 3, 1)
    theirs = plain.state_dict()
    own = {key: value for key, value in net.state_dict().items() if key.startswith("encoder.")}
    assert own and all(torch.equal(value, theirs[key]) for key, value in own.items())
    assert len(blocks(net)) == len(blocks(plain))
    found = logits(net, torch.rand(2, 3, 32, 32))
    torch.autograd.backward(found.square().mean())
    assert found.shape == (2, 10) and all(each.grad is not None for each in net.classifier.parameters())  # type: ignore[union-attr]
    first = next(parameter for key, parameter in net.named_parameters() if key.startswith("encoder."))
    assert first.grad is not None and bool(first.grad.abs().sum() > 0)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--loop.eval_every", "2", "--loop.eval_split", "val"], "split of cifar100 must be train or test"),
        (["--batch", "40"], "there are 12"),
        (["--network", "stitched/unet/resnet18"], "has no encoder of its own"),
        (["--network", "unet/resnet81"], "nearest known"),
        (["--data", "cifar10"], "cifar100 or imagefolder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    cifar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    assert _run(cifar, tmp_path / "out", *flags) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "Traceback" not in said and "\n" not in said


def test_pixels_cannot_be_labelled_by_it(cifar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastseg.predict import cli as predict

    assert _run(cifar, tmp_path / "out", "--steps", "1") == 0
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    assert predict([str(tmp_path / "out"), str(tmp_path / "a.png"), "--out", str(tmp_path / "p")]) == 2
    assert "names whole images" in capsys.readouterr().err
    where = ["--data", "camvid", "--root", str(tmp_path)]
    assert evaluate(["--checkpoint", str(tmp_path / "out"), *where]) == 2
    said = capsys.readouterr().err
    assert "names whole images" in said and "--loop.eval_every" in said and not (tmp_path / "p").exists()
