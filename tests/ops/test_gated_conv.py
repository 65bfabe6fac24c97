"""The op `gated_conv` against its reference and its properties, on every device there is; torch has its own file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseg.ops import arrays, gated_conv_columns
from fastseg.ops.gated_conv import (
    gated_dilated_conv2d,
    gated_dilated_conv2d_backward,
    gated_dilated_pool2d,
    gated_dilated_pool2d_backward,
)
from fastseg.reference import gated_conv as reference

Array = npt.NDArray[Any]
Put = Callable[[Any], Any]
Get = Callable[[Any], Array]
TOLERANCE = {"float16": 4e-3, "float32": 2e-5, "float64": 1e-12}  # some hundred sums, relative to the largest value


def close(found: Array, wanted: Array, dtype: str) -> None:
    scale = np.abs(wanted).max(initial=1e-30)
    np.testing.assert_allclose(found / scale, wanted / scale, rtol=0, atol=TOLERANCE[dtype])


def case(
    seed: int, shape: tuple[int, int, int, int, int], branches: int, dtype: str, *, tied: bool, epilogue: str, gate: str
) -> tuple[tuple[Array, Array, Array], dict[str, Any]]:
    """(x, weight, gate) and the options of a random call; `gate` is soft, largest (hard) or numbers (hard, 255 too)."""
    rng = np.random.default_rng(seed)
    n, inputs, outputs, height, width = shape
    wide = "float64" if dtype == "float64" else "float32"
    x = rng.normal(size=(n, inputs, height, width)).astype(dtype)
    weight = rng.normal(size=(branches, outputs, inputs, 3, 3)).astype(dtype)
    gates = rng.random((n, branches, height, width)).astype(wide)
    if gate == "numbers":
        gates = np.where(rng.random((n, height, width)) < 0.1, 255, rng.integers(0, branches, (n, height, width)))
        gates = gates.astype(rng.choice(["uint8", "int64"]))
    options: dict[str, Any] = {"hard": gate != "soft", "relu": epilogue == "relu"}
    if epilogue != "none":
        options["scale"], options["shift"] = (rng.normal(size=(branches, outputs)).astype(wide) for _ in "ab")
    return (x, weight[0] if tied else weight, gates), options


def put_all(put: Put, options: dict[str, Any]) -> dict[str, Any]:
    return {name: put(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}


DILATIONS = (1, 2, 4, 8, 16)
SHAPES = [(1, 1, 1, 1, 1), (2, 5, 7, 9, 11), (1, 33, 31, 17, 33), (2, 3, 65, 33, 20), (1, 2, 257, 5, 9)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("epilogue", ["none", "affine", "relu"])
@pytest.mark.parametrize("gate", ["soft", "largest", "numbers"])
def test_convolution_and_its_gradients_agree_with_the_reference(
    device: str, put: Put, get: Get, shape: tuple[int, int, int, int, int], tied: bool, epilogue: str, gate: str
) -> None:
    if device == "emu" and shape[1] * shape[2] * shape[3] > 5000:
        shape = (1, 9, 34, 5, 9)
    dtype = "float64" if epilogue == "relu" else "float32"  # a float32 sum may fall on the other side of the ReLU
    given_arrays, options = case(len(gate), shape, 5, dtype, tied=tied, epilogue=epilogue, gate=gate)
    arguments = [put(array) for array in given_arrays]
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in given_arrays]
    y = get(gated_dilated_conv2d(*arguments, DILATIONS, **put_all(put, options)))
    wanted = reference.gated_dilated_conv2d(*wide, DILATIONS, **options)
    assert y.shape == wanted.shape and y.dtype == dtype
    close(y, wanted, dtype)
    dy = np.random.default_rng(7).normal(size=wanted.shape).astype(dtype)
    found = gated_dilated_conv2d_backward(put(dy), *arguments, DILATIONS, **put_all(put, options))
    for ours, exact in zip(found, reference.gated_dilated_conv2d(*wide, DILATIONS, **options, dy=dy), strict=True):
        assert (ours is None) == (exact is None)
        if exact is not None:
            close(get(ours), exact, dtype)


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (31, 2), (20, 65)], ids=str)
@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("gate", ["soft", "largest", "numbers"])
def test_pooling_and_its_gradients_agree_with_the_reference(
    device: str, put: Put, get: Get, size: tuple[int, int], kind: Any, gate: str
) -> None:
    (x, _, gates), options = case(3, (2, 11, 1, *size), 5, "float64", tied=True, epilogue="none", gate=gate)
    hard = options["hard"]
    y = get(gated_dilated_pool2d(put(x), put(gates), DILATIONS, kind, hard=hard))
    close(y, reference.gated_dilated_pool2d(x, gates, DILATIONS, kind, hard=hard), "float64")
    dy = np.random.default_rng(7).normal(size=x.shape)
    found = gated_dilated_pool2d_backward(put(dy), put(x), put(gates), DILATIONS, kind, hard=hard)
    for ours, exact in zip(
        found, reference.gated_dilated_pool2d(x, gates, DILATIONS, kind, hard=hard, dy=dy), strict=True
    ):
        assert (ours is None) == (exact is None)
        if exact is not None:
            close(get(ours), exact, "float64")


@settings(max_examples=2000, deadline=None)
@given(
    seed=st.integers(0, 10**6), batch=st.integers(0, 2), channels=st.tuples(st.integers(1, 9), st.integers(1, 37)),
    size=st.tuples(st.integers(0, 17), st.integers(0, 33)), gate=st.sampled_from(["soft", "largest", "numbers"]),
    dilations=st.lists(st.integers(1, 40), min_size=1, max_size=4), tied=st.booleans(),
    dtype=st.sampled_from(["float32", "float64", "float16"]), rows=st.booleans(), threads=st.integers(1, 3),
)  # fmt: skip
def test_any_shape_agrees_with_the_reference(
    seed: int, batch: int, channels: tuple[int, int], size: tuple[int, int], gate: str, dilations: list[int],
    tied: bool, dtype: str, rows: bool, threads: int,
) -> None:  # fmt: skip
    (x, weight, gates), options = case(
        seed, (batch, *channels, *size), len(dilations), dtype, tied=tied, epilogue="affine", gate=gate
    )
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in (x, weight, gates)]
    if rows:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    y = gated_dilated_conv2d(x, weight, gates, dilations, threads=threads, **options)
    close(y, reference.gated_dilated_conv2d(*wide, dilations, **options), dtype)
    x = np.ascontiguousarray(x)
    kind: Any = "avg" if seed % 2 else "max"
    pooled = gated_dilated_pool2d(x, gates, dilations, kind, hard=options["hard"], threads=threads)
    close(pooled, reference.gated_dilated_pool2d(wide[0], wide[2], dilations, kind, hard=options["hard"]), dtype)


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(0, 4), size=st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_one_hot_gate_is_a_plain_dilated_convolution(seed: int, k: int, size: tuple[int, int]) -> None:
    (x, weight, gate), _ = case(seed, (1, 3, 4, *size), 5, "float64", tied=False, epilogue="none", gate="soft")
    gate[:] = 0
    gate[:, k] = 1
    plain = reference.gated_dilated_conv2d(x, weight[k : k + 1], np.ones_like(gate[:, :1]), DILATIONS[k : k + 1])
    close(gated_dilated_conv2d(x, weight, gate, DILATIONS), plain, "float64")
    close(gated_dilated_conv2d(x, weight, gate, DILATIONS, hard=True), plain, "float64")


@pytest.mark.parametrize("relu", [False, True])
def test_soft_one_hot_gates_equal_hard_gates(device: str, put: Put, get: Get, relu: bool) -> None:
    (x, weight, gate), options = case(2, (1, 9, 34, 7, 13), 5, "float64", tied=False, epilogue="relu", gate="soft")
    one_hot = reference.gates_of(gate, 5, True)
    constants = {name: put(options[name]) for name in ("scale", "shift")}
    x, weight = put(x), put(weight)
    soft = gated_dilated_conv2d(x, weight, put(one_hot), DILATIONS, relu=relu, **constants)
    hard = gated_dilated_conv2d(x, weight, put(gate), DILATIONS, relu=relu, hard=True, **constants)
    close(get(hard), get(soft), "float64")


@pytest.mark.parametrize("gate", ["soft", "largest", "numbers"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_tiles_of_pixels_add_up(
    device: str, put: Put, get: Get, monkeypatch: pytest.MonkeyPatch, gate: str, tied: bool, dtype: str
) -> None:
    monkeypatch.setattr(gated_conv_columns, "TILE_BYTES", 9 * 3 * 4 * 50)  # 50 pixels, or 25: the GPU's way alone
    given_arrays, options = case(5, (2, 3, 5, 7, 11), 3, dtype, tied=tied, epilogue="affine", gate=gate)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in given_arrays]
    arguments = [put(array) for array in given_arrays]
    y = gated_dilated_conv2d(*arguments, (1, 2, 4), **put_all(put, options))
    close(get(y), reference.gated_dilated_conv2d(*wide, (1, 2, 4), **options), dtype)
    found = gated_dilated_conv2d_backward(y, *arguments, (1, 2, 4), **put_all(put, options))
    exact = reference.gated_dilated_conv2d(*wide, (1, 2, 4), **options, dy=get(y).astype(np.float64))
    for ours, other in zip(found, exact, strict=True):
        if other is not None:
            close(get(ours), other, dtype)


def test_half_values_are_rounded_to_the_nearest(device: str, put: Put, get: Get) -> None:
    values = np.arange(0, 2**16, 1 if device != "emu" else 7).astype(np.uint16).view(np.float16)
    x = np.where(np.isfinite(values), values, np.float16(1)).reshape(1, 1, 1, -1)
    gate = np.random.default_rng(3).uniform(0, 2, x.shape).astype(np.float32)
    far = (4096,)  # every tap but the centre is outside
    with np.errstate(over="ignore"):
        wanted = (gate * x.astype(np.float32)).astype(np.float16)
        for start in range(0, x.size, 4000):
            part = slice(start, start + 4000)
            one, gates = (put(np.ascontiguousarray(a[..., part])) for a in (x, gate))
            np.testing.assert_array_equal(get(gated_dilated_pool2d(one, gates, far, "max")), wanted[..., part])


def test_the_first_of_equal_gates_is_chosen(device: str, put: Put, get: Get) -> None:
    (x, weight, gate), _ = case(4, (1, 3, 5, 6, 7), 3, "float64", tied=False, epilogue="none", gate="soft")
    gate[:] = 0.5
    y = get(gated_dilated_conv2d(put(x), put(weight), put(gate), (1, 2, 3), hard=True))
    first = np.zeros((1, 6, 7), np.uint8)
    close(y, reference.gated_dilated_conv2d(x, weight, first, (1, 2, 3), hard=True), "float64")


def test_a_number_that_is_no_branch_gives_zero(device: str, put: Put, get: Get) -> None:
    (x, weight, _), _ = case(4, (1, 3, 5, 6, 7), 3, "float32", tied=False, epilogue="none", gate="soft")
    for number in (-1, 3, 255, 2**40):
        gate = put(np.full((1, 6, 7), number, np.int64))
        for weights in (weight, weight[0]):
            assert (get(gated_dilated_conv2d(put(x), put(weights), gate, (1, 2, 3), hard=True)) == 0).all()
        assert (get(gated_dilated_pool2d(put(x), gate, (1, 2, 3), "max", hard=True)) == 0).all()


def test_repeats_and_thread_counts_are_bitwise_equal(device: str, put: Put, get: Get) -> None:
    (x, weight, gate), options = case(9, (1, 9, 34, 17, 19), 5, "float32", tied=False, epilogue="relu", gate="soft")
    arguments = [put(array) for array in (x, weight, gate)]
    dy = put(np.random.default_rng(1).normal(size=(1, 34, 17, 19)).astype(np.float32))
    options = put_all(put, options)

    def results(threads: int) -> list[Array]:
        y = gated_dilated_conv2d(*arguments, DILATIONS, threads=threads, **options)
        found = gated_dilated_conv2d_backward(dy, *arguments, DILATIONS, threads=threads, **options)
        pooled = gated_dilated_pool2d(arguments[0], arguments[2], DILATIONS, threads=threads)
        grown = gated_dilated_pool2d_backward(arguments[0], arguments[0], arguments[2], DILATIONS, threads=threads)
        return [get(array).copy() for array in (y, *found, pooled, *grown)]

    first = results(1)
    for repeat in range(20 if device != "emu" else 1):
        for one, other in zip(first, results(1 + repeat % 3), strict=True):
            np.testing.assert_array_equal(one, other)


def test_working_memory_lives_as_long_as_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "KEPT_BYTES", 0)  # none is kept for the next call, as none of a large one is
    (x, weight, gate), _ = case(8, (1, 40, 40, 40, 40), 5, "float32", tied=False, epilogue="none", gate="soft")
    wanted = reference.gated_dilated_conv2d(*(a.astype(np.float64) for a in (x, weight, gate)), DILATIONS)
    close(gated_dilated_conv2d(x, weight, gate, DILATIONS), wanted, "float32")
    assert np.isfinite(gated_dilated_conv2d_backward(x, x, weight, gate, DILATIONS)[0]).all()
    assert np.isfinite(gated_dilated_pool2d(x, gate, DILATIONS)).all()


def test_eight_threads_at_once_agree() -> None:
    (x, weight, gate), options = case(9, (1, 9, 34, 17, 19), 5, "float32", tied=False, epilogue="relu", gate="largest")

    def work(_: int) -> Array:
        return np.asarray(gated_dilated_conv2d(x, weight, gate, DILATIONS, **options))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(32)))
    for y in results:
        np.testing.assert_array_equal(y, results[0])


X = np.zeros((1, 3, 4, 5), np.float32)
GATE = np.zeros((1, 2, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": X.astype(np.int32)}, TypeError, "x must be float32 or float64"),
        ({"x": X[:, :, ::2]}, ValueError, "x must be .* contiguous; got .* not contiguous"),
        ({"x": X[0]}, ValueError, r"x must be .*\(N, C, H, W\)"),
        ({"weight": np.zeros((2, 4, 2, 3, 3), np.float32)}, ValueError, r"weight must be .*B=2, Cout, Cin=3, 3, 3"),
        ({"weight": np.zeros((2, 4, 3, 3, 3))}, TypeError, "weight must be float32"),
        ({"gate": GATE.astype(np.float64)}, TypeError, "gate must be float32"),
        ({"gate": GATE[:, :1]}, ValueError, r"gate must be .*B=2"),
        ({"gate": np.zeros((1, 4, 5), np.uint8)}, TypeError, "hard=True"),
        ({"dilations": ()}, ValueError, "dilations"),
        ({"dilations": (1, 0)}, ValueError, "dilations"),
        ({"scale": np.zeros((2, 5), np.float32)}, ValueError, r"scale must be .*B=2, Cout=4"),
        ({"threads": 0}, ValueError, "threads"),
        ({"x": [[1.0]]}, TypeError, "numpy, torch or cupy"),
    ],
)
def test_unsupported_arguments_are_refused(change: dict[str, Any], error: type[Exception], words: str) -> None:
    weight = np.zeros((2, 4, 3, 3, 3), np.float32)
    arguments: dict[str, Any] = {"x": X, "weight": weight, "gate": GATE, "dilations": (1, 2)} | change
    with pytest.raises(error, match=words):
        gated_dilated_conv2d(**arguments)


def test_unsupported_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of avg, max; got 'min'"):
        gated_dilated_pool2d(X, GATE, (1, 2), "min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dy must be .*\(1, 3, 4, 5\)"):
        gated_dilated_pool2d_backward(X[:, :2], X, GATE, (1, 2))
