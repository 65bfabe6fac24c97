"""Arrays are checked with one readable sentence, allocated where their argument lies, and described by address."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from fastseg.ops import arrays


def test_check_binds_the_letters_of_a_shape() -> None:
    depth = np.zeros((2, 5, 8), np.float32)
    assert arrays.check("depth", depth, ("float32", "uint16"), ("N", "H", "W")) == {"N": 2, "H": 5, "W": 8}


def test_a_bracketed_axis_may_be_absent_and_is_one() -> None:
    assert arrays.check("depth", np.zeros((5, 8), np.uint16), "uint16", ("[N]", "H", "W"))["N"] == 1
    assert arrays.check("depth", np.zeros((3, 5, 8), np.uint16), "uint16", ("[N]", "H", "W"))["N"] == 3


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 0, 4), (1, 4, 0)])
def test_an_array_without_elements_is_described_by_address_zero(shape: tuple[int, ...]) -> None:
    empty = np.zeros(shape, np.float32)
    arrays.check("depth", empty, "float32", ("N", "H", "W"))
    assert arrays.describe(empty) == (0, "float32", False, shape)


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


def test_describe_gives_the_address_and_can_add_an_axis() -> None:
    depth = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert arrays.describe(depth) == (depth.ctypes.data, "uint16", False, (2, 3))
    assert arrays.describe(depth, (1, 2, 3))[3] == (1, 2, 3)
    with pytest.raises(ValueError, match="cannot be read as"):
        arrays.describe(depth, (2, 2, 3))


def test_the_cpu_has_no_stream() -> None:
    assert arrays.stream(np.zeros(3)) == 0


@pytest.mark.torch
def test_torch_tensors_behave_like_numpy_arrays() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(2, 3)
    assert arrays.check("x", tensor, "float32", ("N", 3)) == {"N": 2}
    assert arrays.describe(tensor) == (tensor.data_ptr(), "float32", False, (2, 3))
    made = arrays.empty(tensor, (4,), "float32")
    assert isinstance(made, torch.Tensor) and math.isnan(made[0])
    with pytest.raises(ValueError, match=r"not contiguous$"):
        arrays.check("x", tensor.T, "float32", ("N", "M"))
    with pytest.raises(ValueError, match="must be a numpy array like the other arguments; got a torch cpu array"):
        arrays.check("x", tensor, "float32", ("N", "M"), like=np.zeros(2))
    with pytest.raises(ValueError, match="got a tensor on meta"):
        arrays.on_device(torch.zeros(2, device="meta"))
    with pytest.raises(ValueError, match=r"not contiguous$"):
        arrays.check("x", torch.zeros(2, dtype=torch.complex64).conj(), "complex64", ("N",))


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
