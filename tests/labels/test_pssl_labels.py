"""PSSL labels against captum's SmoothGrad and the reference of decile ranks; what rejects an image; what is stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fastseg.frames import FrameError
from fastseg.labels import pssl_gradients
from fastseg.labels.pssl import Ensemble, PSSLLabel
from fastseg.labels.pssl_config import PSSLConfig, class_map, packed, unpacked
from fastseg.labels.pssl_gradients import evenly, noise_seed, seeds
from fastseg.labels.pssl_member import Member, folded, prepared
from fastseg.reference import decile_rank as reference

pytestmark = pytest.mark.torch
SIZE = 24
CLASSES = 5


def net(seed: int) -> nn.Sequential:
    """A small classifier whose batch normalisation has seen something."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Softplus(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.Softplus(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES),
    )  # fmt: skip
    with torch.no_grad():
        layers.train()
        for _ in range(5):
            layers(torch.randn(8, 3, SIZE, SIZE) * 2 + 1)
        head(layers).weight.mul_(5)
    return layers.eval()


def head(layers: nn.Module) -> nn.Linear:
    found = list(layers.modules())[-1]
    assert isinstance(found, nn.Linear)
    return found


def member(seed: int, **changed: Any) -> Member:
    about: dict[str, Any] = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3), "size": SIZE}
    return Member(f"net-{seed}", net(seed), **(about | changed))


def pictures(count: int = 3, size: int = SIZE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


def names(count: int = 3) -> list[str]:
    return [f"a/{i}" for i in range(count)]


def labels(ensemble: Ensemble, count: int = 3, first: int = 0) -> list[PSSLLabel]:
    found = ensemble.label(pictures(3)[first : first + count], [1, 2, 0][first:], names()[first : first + count], True)
    assert all(isinstance(each, PSSLLabel) for each in found)
    return found  # type: ignore[return-value]


def captums(one: Member, image: Any, number: int, name: str, config: PSSLConfig, monkeypatch: Any) -> Any:
    """captum's SmoothGrad map of one image (size, size), the noise being ours, summed over channels."""
    captum_attr = pytest.importorskip("captum.attr", reason="captum is the oracle of the explanations")
    inputs = one.inputs(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    generator = torch.Generator()
    noise = [
        torch.randn(inputs.shape[1:], generator=generator.manual_seed(noise_seed(config.seed, name, one.name, k)))
        for k in range(config.samples)
    ]
    spread = config.sigma * float(inputs.max() - inputs.min())
    monkeypatch.setattr(torch, "normal", lambda mean, std, *rest, **more: std * torch.stack(noise))
    tunnel = captum_attr.NoiseTunnel(captum_attr.Saliency(lambda x: one.net(x).softmax(1)))
    found = tunnel.attribute(inputs, nt_type="smoothgrad", nt_samples=config.samples, stdevs=spread, target=number)
    monkeypatch.undo()
    return found[0].sum(0).numpy()


def test_a_models_map_is_captums_smoothgrad_with_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    config, one = PSSLConfig(samples=7, size=SIZE), member(1)
    found = labels(Ensemble([one], config))
    for image, label, number, name in zip(pictures(), found, [1, 2, 0], names(), strict=True):
        expected = captums(one, image, number, name, config, monkeypatch)
        assert label.maps is not None and np.ptp(expected) > 0
        np.testing.assert_allclose(label.maps[0], expected, rtol=0, atol=1e-5 * expected.max())


def test_the_deciles_are_those_of_the_reference_of_the_mean_of_the_normalised_maps() -> None:
    found = labels(Ensemble([member(1), member(2), member(3)], PSSLConfig(samples=4, size=SIZE)))
    for label in found:
        assert label.maps is not None
        np.testing.assert_allclose(label.mean, reference.ensemble_mean(label.maps), atol=1e-6)  # float32 sums
        np.testing.assert_array_equal(label.deciles, reference.decile_rank(label.mean))
        assert np.bincount(label.deciles.ravel(), minlength=10).min() > 0 and label.samples == 4


@pytest.mark.parametrize("pass_size", [1, 3, 4, 8, 50])
def test_a_label_does_not_depend_on_its_neighbours(pass_size: int) -> None:
    """Bit for bit: passes are of one size, whatever is in them."""
    config = PSSLConfig(samples=4, size=SIZE, pass_size=pass_size)
    ensemble = Ensemble([member(1), member(2)], config)
    together = labels(ensemble)
    for i in range(3):
        np.testing.assert_array_equal(labels(ensemble, 1, i)[0].mean, together[i].mean)


def test_the_size_of_a_pass_changes_a_map_by_rounding_alone() -> None:
    maps = [
        labels(Ensemble([member(1)], PSSLConfig(samples=6, size=SIZE, pass_size=size)))[0].maps for size in (1, 4, 6)
    ]
    for one, other in pairwise(maps):
        assert one is not None and other is not None
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * one.max())


def test_the_noise_follows_from_seed_image_model_and_copy() -> None:
    keys = [(0, "a", "m", 0), (1, "a", "m", 0), (0, "b", "m", 0), (0, "a", "n", 0), (0, "a", "m", 1)]
    assert len({noise_seed(*key) for key in keys}) == len(keys)
    assert noise_seed(*keys[0]) == noise_seed(0, "a", "m", 0) < 2**63
    other = PSSLConfig(samples=4, size=SIZE, seed=1)
    assert (
        labels(Ensemble([member(1)], other))[0].mean != labels(Ensemble([member(1)], PSSLConfig(4, size=SIZE)))[0].mean
    ).any()


@pytest.mark.parametrize(("batch", "copies", "expected"), [(50, 50, 50), (16, 50, 13), (120, 50, 100), (1, 50, 1)])
def test_passes_are_filled_evenly(batch: int, copies: int, expected: int) -> None:
    assert evenly(batch, copies) == expected


def test_sampling_stops_when_the_deciles_stay() -> None:
    every, loose = PSSLConfig(samples=12, size=SIZE, look_every=2), PSSLConfig(12, size=SIZE, look_every=2, stop_at=0.9)
    assert [label.samples for label in labels(Ensemble([member(1)], every))] == [12, 12, 12]
    stopped = labels(Ensemble([member(1)], loose))
    assert [label.samples for label in stopped] == [4, 4, 4] and all(label.changed <= 0.9 for label in stopped)
    four = labels(Ensemble([member(1)], PSSLConfig(samples=4, size=SIZE)))
    np.testing.assert_allclose(stopped[0].mean, four[0].mean, atol=1e-6)
    tight = labels(Ensemble([member(1)], PSSLConfig(6, size=SIZE, look_every=2, stop_at=1e-9)))
    assert [label.samples for label in tight] == [6, 6, 6] and all(math.isfinite(label.changed) for label in tight)


def test_an_image_whose_maps_are_constant_or_not_finite_is_rejected_with_its_reason() -> None:
    flat, broken = member(1), member(2)
    nn.init.zeros_(head(flat.net).weight)
    nn.init.constant_(head(broken.net).weight, float("nan"))
    config = PSSLConfig(samples=2, size=SIZE)
    (found,) = Ensemble([flat], config).label(pictures(1), [1], ["a/0"])
    assert isinstance(found, FrameError) and found.reason == "constant" and "a/0" in found.detail
    (found,) = Ensemble([member(3), broken], config).label(pictures(1), [1], ["a/0"])
    assert isinstance(found, FrameError) and found.reason == "nan" and "net-2" in found.detail
    (found,) = Ensemble([member(3), flat], config).label(pictures(1), [1], ["a/0"])
    assert isinstance(found, PSSLLabel), "one model that sees nothing adds nothing"


def test_a_pass_that_does_not_fit_is_halved_down_to_one_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = PSSLConfig(samples=4, size=SIZE)
    ensemble, gradients = Ensemble([member(1)], config), pssl_gradients.Smoother._gradients
    expected = labels(ensemble)[0]

    def short(room: int) -> Callable[..., Any]:
        def fail(self: Any, inputs: Any, outputs: Any) -> Any:
            if len(inputs) > room:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return gradients(self, inputs, outputs)

        return fail

    monkeypatch.setattr(pssl_gradients.Smoother, "_gradients", short(2))
    np.testing.assert_allclose(labels(ensemble)[0].mean, expected.mean, atol=1e-5)
    assert ensemble.batches["net-1"] <= 3
    monkeypatch.setattr(pssl_gradients.Smoother, "_gradients", short(0))
    with pytest.raises(MemoryError, match=f"net-1: one pass at {SIZE}x{SIZE} does not fit"):
        labels(ensemble)


def test_a_classifier_that_does_not_fit_at_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("fastseg.labels.pssl.prepared", refuse)
    with pytest.raises(MemoryError, match="does not fit the memory of cpu; leave the classifier out"):
        Ensemble([member(1)], PSSLConfig(samples=2, size=SIZE))


def test_the_memory_that_a_pass_may_take_bounds_its_copies() -> None:
    sizes = [
        Ensemble([member(1)], PSSLConfig(samples=4, size=SIZE, memory_mb=mb, pass_size=10_000)).batches["net-1"]
        for mb in (1, 4)
    ]
    assert 1 <= sizes[0] < sizes[1] < 10_000


def test_batch_normalisation_folds_into_its_convolution() -> None:
    before = net(1)
    after = folded(before, SIZE)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in before.modules()) == 2
    assert not [m for m in after.modules() if isinstance(m, nn.BatchNorm2d)]
    x = torch.randn(2, 3, SIZE, SIZE)
    torch.testing.assert_close(after(x), before(x), rtol=1e-4, atol=1e-4)  # float32 sums in another order


class _Twice(nn.Module):
    """Uses what its convolution gives before and after normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, CLASSES, 3), nn.BatchNorm2d(CLASSES)
        self.norm.running_var = torch.full((CLASSES,), 2.5)

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        return (y + self.norm(y)).mean((2, 3))


def test_a_convolution_whose_output_is_used_twice_keeps_its_normalisation() -> None:
    before = _Twice().eval()
    assert folded(before, SIZE) is before


def test_the_member_that_is_prepared_is_another_than_the_one_given() -> None:
    one = member(1)
    ready = prepared(one, "cpu", torch.float32)
    assert all(p.requires_grad for p in one.net.parameters()) and not any(
        p.requires_grad for p in ready.net.parameters()
    )


@pytest.mark.parametrize("target", ["probability", "loss"])
def test_the_gradient_of_a_sure_classifier_keeps_its_digits(target: Any) -> None:
    logits = torch.tensor([[20.0, 1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    p = logits.softmax(1)
    of = p[0, 0] if target == "probability" else -logits.log_softmax(1)[0, 0]
    (expected,) = torch.autograd.grad(of, logits)
    found = seeds(p.detach().float(), torch.tensor([0]), target)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_logits_take_the_output_that_stands_for_the_class() -> None:
    plain, turned = member(1), member(1, columns=(4, 3, 2, 1, 0))
    with torch.no_grad():
        head(turned.net).weight.copy_(head(turned.net).weight.flip(0))
        head(turned.net).bias.copy_(head(turned.net).bias.flip(0))
    config = PSSLConfig(samples=2, size=SIZE, target="logit")
    np.testing.assert_allclose(
        labels(Ensemble([turned], config))[0].mean, labels(Ensemble([plain], config))[0].mean, atol=1e-6
    )


def test_models_of_other_sizes_share_one_label() -> None:
    found = labels(Ensemble([member(1), member(2, size=32)], PSSLConfig(samples=2, size=20)))
    assert found[0].deciles.shape == (20, 20) and found[0].maps is not None and found[0].maps.shape == (2, 20, 20)


def test_a_program_of_torch_export_is_explained_like_the_network_it_was_made_of() -> None:
    one = member(1)
    sizes = {"input": {0: torch.export.Dim("images")}}
    program = torch.export.export(one.net, (torch.zeros(2, 3, SIZE, SIZE),), dynamic_shapes=sizes)
    exported = replace(one, net=program.module())
    found = [labels(Ensemble([each], PSSLConfig(samples=2, size=SIZE)))[0].mean for each in (one, exported)]
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)  # its normalisation is not folded


def test_two_classifiers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        Ensemble([member(1), member(1)], PSSLConfig())


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_deciles_survive_packing(height: int, width: int, seed: int) -> None:
    deciles = np.random.default_rng(seed).integers(0, 10, (height, width), np.uint8)
    data = packed(deciles)
    assert len(data) == (height * width + 1) // 2
    np.testing.assert_array_equal(unpacked(data, height, width), deciles)


def test_packed_deciles_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="take 8 bytes; got 7"):
        unpacked(b"\0" * 7, 4, 4)


def test_the_top_decile_takes_the_class_and_the_rest_is_background() -> None:
    assert class_map(np.array([[9, 8], [0, 9]], np.uint8), 7, 1000).tolist() == [[7, 1000], [1000, 7]]
