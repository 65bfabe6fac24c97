from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from fastseg.data.chosen_classes import with_classes
from fastseg.data.rooms import RoomImages
from fastseg.frames import LabelledFrames
from fastseg.methods.segment import Segment
from fastseg.nets.gating_net import GatedNet
from tests.squares import Squares

pytestmark = pytest.mark.torch


def _camvid(root: Path, count: int) -> Path:
    for folder in ("train", "trainannot"):
        (root / folder).mkdir()
        for index in range(count):
            Image.fromarray(np.zeros((36, 48), np.uint8)).save(root / folder / f"f{index}.png")
    return root


def test_the_defaults_are_the_papers() -> None:
    method = Segment("camvid", "images", Path("run"))
    assert (method.network, method.size, method.steps, method.batch) == ("segnet/vgg16_bn", "360x480", 40_000, 4)
    assert (method.optim.lr, method.optim.momentum, method.optim.weight_decay) == (1e-3, 0.9, 5e-4)


def test_a_gated_head_goes_over_the_network() -> None:
    def segment(head: str, network: str = "fcn/vgg11_bn") -> Segment:
        return Segment("camvid", "images", Path("run"), head=head, network=network)

    assert segment("").network_name() == "fcn/vgg11_bn"
    assert segment("gated").network_name() == "gated-attention/fcn/vgg11_bn"
    begun = segment("gated-average-tied-w16", "fpn/resnet10t").build(3)
    assert begun.network == "gated-average-tied-w16/fpn/resnet10t" and isinstance(begun.net, GatedNet)
    for head in ("gated-predicted", "gated-ground_truth-tied", "dense"):
        with pytest.raises(ValueError, match=f"--head is gated, .* got '{head}'; gates that need depth are trained by"):
            segment(head)


def test_a_few_images_are_drawn_by_the_seed(tmp_path: Path) -> None:
    images = _camvid(tmp_path, 3)

    def ids(seed: int, split: str = "train:2") -> list[str]:
        return list(Segment("camvid", str(images), tmp_path / "out", split=split, seed=seed).examples().ids())

    assert ids(0) == ids(0) and len(ids(0)) == 2
    assert len({tuple(ids(seed)) for seed in range(20)}) == 3
    assert len(ids(0, "train")) == 3
    for count in ("4", "0", "x", ""):
        with pytest.raises(ValueError, match="takes 1 to 3 images here"):
            ids(0, f"train:{count}")


def test_some_classes_are_learned_and_scored_and_pixels_of_the_others_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastseg.data.camvid import CLASS_NAMES
    from fastseg.evaluate import cli as evaluate
    from fastseg.train import cli

    random = np.random.default_rng(0)
    for folder in ("train", "val"):
        for kind in (folder, f"{folder}annot"):
            (tmp_path / kind).mkdir()
            for index in range(2):
                Image.fromarray(random.integers(0, 12, (36, 48), np.uint8)).save(tmp_path / kind / f"f{index}.png")
    chosen = ("road", "sky")
    whole, some = (Segment("camvid", str(tmp_path), tmp_path / "run", classes=each).examples() for each in ((), chosen))
    assert tuple(some.class_names) == chosen and some.ids() == whole.ids() and len(some) == 2
    before, after = whole[1][1], some[1][1]
    expected = np.full_like(before, 255)
    expected[before == CLASS_NAMES.index("road")], expected[before == CLASS_NAMES.index("sky")] = 0, 1
    assert after.dtype == before.dtype and (after == expected).all() and (some[1][0] == whole[1][0]).all()
    where = ["--data", "camvid", "--root", str(tmp_path)]
    words = [*where, "--out", str(tmp_path / "run"), "--network", "linknet/mobilenetv3_small_050", "--size", "32x32"]
    words += ["--batch", "2", "--steps", "1", "--loop.device", "cpu", "--loop.workers", "0", "--loop.eval_every", "1"]
    assert cli(["segment", *words, "--classes", "road,sky"]) == 0
    assert evaluate(["--checkpoint", str(tmp_path / "run"), *where, "--json", str(tmp_path / "scores.json")]) == 0
    assert "knows 2 of the 11 classes; pixels of the others are left out" in capsys.readouterr().out
    scored = json.loads((tmp_path / "scores.json").read_text())
    pixels = {each["class"]: each["pixels"] for each in scored["per_class"]}
    labels = np.stack([np.array(Image.open(path)) for path in sorted((tmp_path / "valannot").iterdir())])
    assert pixels == {name: int((labels == CLASS_NAMES.index(name)).sum()) for name in chosen}
    for wrong, sentence in (("cat", "names 'cat'; the classes are sky"), ("sky,sky", "names 'sky' twice")):
        assert cli(["segment", *words, "--classes", wrong]) == 2
        assert sentence in capsys.readouterr().err


def test_chosen_classes_keep_depth_and_refuse_what_is_no_class() -> None:
    squares = Squares(2, value=7)
    with pytest.raises(ValueError, match=r"the label of 'squares/1' holds class 7; there are 3 classes"):
        with_classes(squares, ["red"])[1]
    assert with_classes(squares, []) is squares and with_classes(squares, squares.class_names) is squares
    assert not hasattr(with_classes(squares, ["red"]), "depth")
    rooms = RoomImages(1, 1, 48, 64)
    found = cast(LabelledFrames, with_classes(rooms, ["wall"]))
    assert (found.depth(0) == rooms.depth(0)).all() and found.camera(0) == rooms.camera(0)


def test_a_second_classifier_is_trained_with_its_weight() -> None:
    import torch

    from fastseg.losses import segmentation_loss
    from fastseg.methods.cross_entropy import cross_entropy
    from fastseg.nets import build_network, features

    net = build_network("ocrnet/hrnet_w18_small", 4).eval()
    images, labels = torch.rand(1, 3, 64, 64), torch.randint(0, 4, (1, 64, 64))
    found = features(net, images)
    assert found.auxiliary is not None
    expected = segmentation_loss(found.logits, labels) + 0.4 * segmentation_loss(found.auxiliary, labels)
    torch.testing.assert_close(cross_entropy(net, images, labels, None), expected)
