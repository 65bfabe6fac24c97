"""What a GPU is asked about SmoothGrad, on the processor: the contestants run, and a device agrees with itself."""

from __future__ import annotations

import pytest
import torch

from benchmarks import device_pssl, pssl_rate
from benchmarks.rows import OURS

pytestmark = pytest.mark.torch


def small() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 5),
    )  # fmt: skip


def test_every_contestant_makes_its_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("captum")
    monkeypatch.setattr(pssl_rate, "NETS", {"small": small})
    monkeypatch.setattr(pssl_rate, "SIZE", 16)
    images = device_pssl.pictures()
    assert images.shape == (device_pssl.PICTURES, 3, 16, 16) and device_pssl.apart("small", images, "cpu") == 0
    calls = device_pssl.contestants("small", images, "cpu", copies=2)
    assert next(iter(calls)) == OURS and set(calls) == {OURS, "bf16 compiled", "float32", "captum"}
    for name in (OURS, "float32"):
        assert calls[name](0).maps.shape == (device_pssl.PICTURES, 16, 16)  # type: ignore[attr-defined]
    assert calls["captum"](0).shape == (16, 16)  # type: ignore[attr-defined]
