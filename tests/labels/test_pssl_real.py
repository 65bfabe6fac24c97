"""Published classifiers on real pictures: their first class, captum's maps, labels that do not depend on neighbours."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastseg.classifiers import ClassifierAt, open_member
from fastseg.labels.pssl import Ensemble, PSSLLabel
from fastseg.labels.pssl_config import PSSLConfig
from fastseg.labels.pssl_gradients import noise_seed
from fastseg.labels.pssl_member import Member, prepared

pytestmark = [pytest.mark.torch, pytest.mark.slow]
NAMES = [str(number) for number in range(1000)]
CENTRE = (0.498, 0.498, 0.498)
LITE: dict[str, Any] = {"by_order": True, "mean": CENTRE, "std": (0.502, 0.502, 0.502)}
CLASSIFIERS = {
    "lite0": ("efficientnet-lite0-fp16.pth", ClassifierAt("timm:efficientnet_lite0", name="lite0", **LITE)),
    "mobilenet": ("mobilenet_v2-fp16.pth", ClassifierAt("torchvision:mobilenet_v2", name="mobilenet")),
}


def opened(name: str, shared_data: Path) -> Member:
    file, at = CLASSIFIERS[name]
    torch.set_num_threads(1)
    return open_member(replace(at, weights=str(shared_data / "weights" / file), size=224), NAMES)


def pictures(shared_data: Path, limit: int = 40) -> tuple[np.ndarray[Any, Any], list[int]]:
    """The middle 224 x 224 of pictures whose shorter side was made 256, and their classes."""
    folder = shared_data / "imagenet"
    with (folder / "labels.tsv").open() as file:
        rows = list(csv.reader(file, delimiter="\t"))[1 : limit + 1]
    found = []
    for name, _ in rows:
        with Image.open(folder / name) as image:
            scale = 256 / min(image.size)
            small = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
        left, top = (small.width - 224) // 2, (small.height - 224) // 2
        found.append(np.asarray(small.crop((left, top, left + 224, top + 224))))
    return np.stack(found), [int(number) for _, number in rows]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_first_class_of_most_pictures_is_right_also_when_normalisation_is_folded(
    name: str, shared_data: Path
) -> None:
    images, classes = pictures(shared_data)
    member = opened(name, shared_data)
    ready = prepared(member, "cpu", torch.float32)
    inputs = member.inputs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    with torch.inference_mode():
        plain, folded = member.net(inputs), ready.net(inputs)
    assert int((plain.argmax(1) == torch.tensor(classes)).sum()) >= 35
    assert not [m for m in ready.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(folded, plain, rtol=0, atol=1e-3)  # of logits up to 20: float32 sums in another order


def test_a_published_classifiers_map_is_captums(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captum_attr = pytest.importorskip("captum.attr", reason="captum is the oracle of the explanations")
    member, (images, classes) = opened("mobilenet", shared_data), pictures(shared_data, 1)
    inputs = member.inputs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    noise = [
        torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(noise_seed(0, "a", "mobilenet", k)))
        for k in range(3)
    ]
    monkeypatch.setattr(torch, "normal", lambda mean, std, *rest, **more: std * torch.stack(noise))
    tunnel = captum_attr.NoiseTunnel(captum_attr.Saliency(lambda x: member.net(x).softmax(1)))
    spread = 0.1 * float(inputs.max() - inputs.min())
    found = tunnel.attribute(inputs, nt_type="smoothgrad", nt_samples=3, stdevs=spread, target=classes[0])
    expected = found[0].sum(0).numpy()
    (label,) = Ensemble([member], PSSLConfig(samples=3)).label(images, classes, ["a"], keep_maps=True)
    assert isinstance(label, PSSLLabel) and label.maps is not None
    np.testing.assert_allclose(label.maps[0], expected, rtol=0, atol=1e-5 * expected.max())


def test_a_published_classifiers_label_does_not_depend_on_its_neighbours(shared_data: Path) -> None:
    """Bit for bit, at pass sizes of less and more than an image's copies."""
    images, classes = pictures(shared_data, 3)
    for pass_size in (3, 8):
        config = PSSLConfig(samples=4, pass_size=pass_size)
        ensemble = Ensemble([opened("mobilenet", shared_data)], config)
        together = ensemble.label(images, classes, ["a", "b", "c"])
        (alone,) = ensemble.label(images[1:2], classes[1:2], ["b"])
        assert isinstance(alone, PSSLLabel) and isinstance(together[1], PSSLLabel)
        np.testing.assert_array_equal(alone.mean, together[1].mean)
