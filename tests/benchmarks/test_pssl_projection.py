"""The projection of PSSL onto ImageNet: its arithmetic, and that it says what was measured and what was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks import pssl_projection
from benchmarks.pssl_projection import lines, on_gpus, on_threads, shares_of

pytestmark = pytest.mark.torch


def test_the_operations_of_a_pass_are_those_that_the_rate_counts() -> None:
    assert pssl_projection.gflops("resnet18") == pytest.approx(2 * 2 * 1.814, rel=0.01)  # 1.8 G products and sums


def test_days_and_decoders_follow_from_the_share_of_the_data_sheet() -> None:
    one, eight = on_gpus(tflop=9.895, share=0.5, decode=10.0)  # 50 pictures a second
    assert one["hours"] == pytest.approx(pssl_projection.IMAGES / 50 / 3600) == pytest.approx(8 * eight["hours"])
    assert (one["cores"], eight["cores"]) == pytest.approx((0.5, 4.0))


def test_what_a_gpu_reached_is_the_best_of_ours_by_network() -> None:
    rows = [
        {"case": case, "impl": impl, "extra": {"tflop_s": rate * pssl_projection.H200_TFLOPS}}
        for case, impl, rate in (
            ("a", "fastseg", 0.2),
            ("a", "bf16 compiled", 0.3),
            ("b", "fastseg", 0.1),
            ("b", "captum", 0.9),
        )
    ]
    assert shares_of({"rows": rows}) == pytest.approx({"a": 0.3, "b": 0.1}) and shares_of({}) == {}


def test_lines_say_what_was_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"passes_per_s": 10.0, "floor_share": 0.5}
    rate = {"product_gflops": 100.0, "rows": [{"case": "net", "impl": "fastseg", "extra": extra}]}
    found = {
        "passes": 961e6, "tflop_a_picture": 16.0, "exaflop": 20.0,
        "measured": {
            "decode_ms": 5.0, "pictures_decoded": 40, "one_thread": on_threads(rate, 1e9),
            "gpu_shares": "not run on a GPU",
        },
        "arithmetic": {"gpu": on_gpus(16.0, 0.4, 5.0)},
    }  # fmt: skip
    told = lines(found)
    assert found["measured"]["one_thread"]["net"]["thread_days_for_all"] == pytest.approx(1e9 / 50 / 86_400)  # type: ignore[index]
    assert (
        len(told) == 5
        and all("not run on a GPU" in line for line in told[2:4])
        and "(measured on 40 pictures)" in told[1]
    )


def test_decoding_is_timed_on_pictures_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no JPEG files"):
        pssl_projection.decode_ms(tmp_path)
    Image.new("RGB", (50, 40)).save(tmp_path / "one.JPEG")
    milliseconds, count = pssl_projection.decode_ms(tmp_path)
    assert milliseconds > 0 and count == 1
