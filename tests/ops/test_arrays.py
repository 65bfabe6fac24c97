"""Arrays are checked with one readable sentence, allocated where their argument lies, and described for C++."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastseg.ops import arrays
from fastseg.ops.decile_rank import decile_rank


def test_check_binds_the_letters_of_a_shape() -> None:
    depth = np.zeros((2, 5, 8), np.float32)
    assert arrays.check("depth", depth, ("float32", "uint16"), ("N", "H", "W")) == {"N": 2, "H": 5, "W": 8}


def test_a_bracketed_axis_may_be_absent_and_is_one() -> None:
    assert arrays.check("depth", np.zeros((5, 8), np.uint16), "uint16", ("[N]", "H", "W"))["N"] == 1
    assert arrays.check("depth", np.zeros((3, 5, 8), np.uint16), "uint16", ("[N]", "H", "W"))["N"] == 3


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 0, 4), (1, 4, 0)])
def test_an_array_without_elements_is_checked_and_described(shape: tuple[int, ...]) -> None:
    empty = np.zeros(shape, np.float32)
    arrays.check("depth", empty, "float32", ("N", "H", "W"))
    memory, *rest = arrays.describe(empty)
    assert memory is empty and rest == ["float32", False, shape]


def test_a_wrong_dtype_is_named() -> None:
    with pytest.raises(TypeError) as error:
        arrays.check("gate", np.zeros((2, 5, 8, 8)), "float32", ("N", "S", "H", "W"))
    assert str(error.value) == "gate must be float32 (N, S, H, W) contiguous; got float64 (2, 5, 8, 8)"


def test_a_wrong_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"gate must be float32 \(N=2, H\) contiguous; got float32 \(3, 4\)$"):
        arrays.check("gate", np.zeros((3, 4), np.float32), "float32", ("N", "H"), {"N": 2})
    with pytest.raises(ValueError, match=r"up must be float32 \(N, 3\) contiguous; got float32 \(5, 4\)$"):
        arrays.check("up", np.zeros((5, 4), np.float32), "float32", ("N", 3))
    with pytest.raises(ValueError, match=r"up must be float32 \(N,\) contiguous; got float32 \(5, 4\)$"):
        arrays.check("up", np.zeros((5, 4), np.float32), "float32", ("N",))


def _unaligned() -> np.ndarray:
    return np.zeros(17, np.uint8)[1:].view(np.float32).reshape(2, 2)


@pytest.mark.parametrize(
    "strided",
    [
        np.zeros((4, 6), np.float32).T,
        np.zeros((4, 6), np.float32)[:, ::2],
        np.zeros((4, 6), np.float32)[::-1],
        np.broadcast_to(np.float32(0), (4, 6)),
        _unaligned(),
    ],
)
def test_an_array_that_is_not_contiguous_is_refused(strided: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"not contiguous$"):
        arrays.check("depth", strided, "float32", ("H", "W"))


def test_foreign_byte_order_is_refused() -> None:
    foreign = np.zeros(4, np.dtype(np.float32).newbyteorder())
    with pytest.raises((TypeError, ValueError), match="depth must be float32"):
        arrays.check("depth", foreign, "float32", ("N",))


@pytest.mark.parametrize("thing", [None, [1.0, 2.0], 3, "depth", memoryview(b"ab")])
def test_something_that_is_no_array_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="depth must be a numpy, torch or cupy array; got "):
        arrays.check("depth", thing, "float32", ("N",))


def test_a_subclass_of_a_numpy_array_is_a_numpy_array() -> None:
    assert arrays.library("depth", np.zeros(3).view(np.recarray)) == "numpy"


def test_empty_is_like_its_argument_and_filled_with_nan_in_tests() -> None:
    made = arrays.empty(np.zeros(1, np.uint8), (2, 3), "float32")
    assert made.shape == (2, 3) and made.dtype == np.float32 and np.isnan(made).all()
    assert (arrays.empty(made, (4,), "int32") == 91).all()


def test_describe_gives_the_array_and_can_add_an_axis() -> None:
    depth = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert arrays.describe(depth)[0] is depth and arrays.describe(depth)[1:] == ("uint16", False, (2, 3))
    assert arrays.describe(depth, (1, 2, 3))[3] == (1, 2, 3)
    with pytest.raises(ValueError, match="cannot be read as"):
        arrays.describe(depth, (2, 2, 3))


def test_the_cpu_has_no_stream() -> None:
    assert arrays.stream(np.zeros(3)) == 0


@pytest.mark.parametrize("thing", ["jax", "numba"])
def test_another_library_s_array_is_refused_with_the_way_in(thing: str) -> None:
    protocol = {"jax": "__dlpack__", "numba": "__cuda_array_interface__"}[thing]
    foreign = type("DeviceArray", (), {protocol: None, "shape": (2,), "dtype": "float32"})()
    words = "depth must be a numpy, torch or cupy array; got DeviceArray; torch.from_dlpack or cupy.asarray makes one"
    with pytest.raises(TypeError, match=words):
        arrays.check("depth", foreign, "float32", ("N",))


def test_a_masked_array_is_refused_because_kernels_read_no_mask() -> None:
    masked = np.ma.masked_less(np.zeros((2, 3), np.float32), 1)
    with pytest.raises(TypeError, match="depth must have no mask; got a masked array"):
        arrays.check("depth", masked, "float32", ("H", "W"))


def test_a_memory_map_and_a_read_only_array_are_read_in_place(tmp_path: Path) -> None:
    np.save(tmp_path / "scores.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    assert arrays.describe(mapped)[0] is mapped
    ranks = decile_rank(mapped)
    assert type(ranks) is np.ndarray and ranks.tolist() == [[0, 0, 1, 2], [3, 4, 5, 5], [6, 7, 8, 9]]


def test_a_gpu_is_given_the_same_few_numbers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(arrays, "on_device", lambda _: True)
    monkeypatch.setattr(arrays, "_kept_small", {})

    def upload(_: Any, small: Any) -> Any:
        sent.append(small)
        return small

    monkeypatch.setattr(arrays, "_uploaded", upload)
    like, edges = np.zeros(1), np.arange(3, dtype=np.float32)
    for small in (edges, edges.copy(), edges.astype(np.float64), edges[:2], edges[None]):
        np.testing.assert_array_equal(arrays.moved(like, small), small)
    assert len(sent) == 4
    for n in range(2 * arrays.KEPT_SMALL):
        arrays.moved(like, np.array([n]))
    assert len(arrays._kept_small) == arrays.KEPT_SMALL


def test_an_absent_backend_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CPU_MODULE", "fastseg._absent")
    with pytest.raises(ImportError, match=r"fastseg\._absent is not built .*pip install -e \.`"):
        arrays.backend(np.zeros(3))


def test_the_cpu_backend_is_built() -> None:
    module = arrays.backend(np.zeros(3))
    assert module.backend_name == "cpu" and module.device_count() == 0 and module.compiled()["threads"] >= 1


def test_numpy_users_never_load_torch() -> None:
    code = (
        "import sys, numpy as np; from fastseg.ops import arrays as a; x = np.zeros((2, 3), np.float32);"
        "a.check('x', x, 'float32', ('N', 3)); a.empty(x, (3,), 'int32'); a.describe(x); a.stream(x); a.backend(x);"
        "assert not {'torch', 'cupy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
