from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.methods.segment import Segment
from fastseg.nets.gating_net import GatedNet

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
