"""Arrays are checked with one readable sentence, allocated where their argument lies, and described by address."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastseg.frames import Camera
from fastseg.ops import arrays
from fastseg.ops.decile_rank import decile_rank, ensemble_deciles
from fastseg.ops.hn_labels import hn_labels
from fastseg.ops.normals import normals


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
    assert arrays.describe(mapped)[0] == mapped.ctypes.data
    ranks = decile_rank(mapped)
    assert type(ranks) is np.ndarray and ranks.tolist() == [[0, 0, 1, 2], [3, 4, 5, 5], [6, 7, 8, 9]]


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
    with pytest.raises(ValueError, match=r"not contiguous$"):
        arrays.check("x", torch.zeros(2, dtype=torch.complex64).conj(), "complex64", ("N",))


def odd_tensors() -> dict[str, Callable[[Any], Any]]:
    """Tensors whose elements are not simply stored, and what each is called."""
    return {
        "sparse_coo tensor": lambda torch: torch.eye(4).to_sparse(),
        "sparse_csr tensor": lambda torch: torch.eye(4).to_sparse_csr(),
        "_mkldnn tensor": lambda torch: torch.zeros(4, 4).to_mkldnn(),
        "nested tensor": lambda torch: torch.nested.nested_tensor([torch.zeros(4), torch.zeros(4)]),
        "quantised tensor": lambda torch: torch.quantize_per_tensor(torch.zeros(4, 4), 0.1, 0, torch.quint8),
    }


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # torch announces that some of these forms are prototypes or leave it
@pytest.mark.parametrize("kind", odd_tensors())
def test_a_tensor_that_is_not_plainly_stored_is_refused(kind: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=f"scores must be a plain dense tensor; got a {kind}"):
        decile_rank(odd_tensors()[kind](torch))


@pytest.mark.torch
def test_a_tensor_without_memory_is_refused() -> None:
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode

    with pytest.raises(ValueError, match="arrays must lie on the CPU or a CUDA device; got a tensor on meta"):
        decile_rank(torch.zeros(4, 4, device="meta"))
    with FakeTensorMode() as mode, pytest.raises(TypeError, match="a FakeTensor has no memory of its own"):
        arrays.describe(mode.from_tensor(torch.zeros(4, 4)))
    negated = torch.zeros(1, 1, dtype=torch.complex64).conj().imag
    with pytest.raises(TypeError, match="a negated view has no memory of its own"):
        decile_rank(negated)


@pytest.mark.torch
def test_labels_of_a_tensor_that_requires_grad_do_not() -> None:
    torch = pytest.importorskip("torch")
    scores = torch.nn.Parameter(torch.rand(5, 9))
    assert torch.equal(decile_rank(scores), decile_rank(scores.detach()))
    points, found = normals(scores + 1, Camera(9, 9, 4, 2, 5, 9), radius=1)
    assert not points.requires_grad and not found.requires_grad and scores.grad is None


@pytest.mark.torch
def test_autocast_leaves_label_ops_alone() -> None:
    torch = pytest.importorskip("torch")
    depth, camera = torch.rand(5, 9) + 1, Camera(9, 9, 4, 2, 5, 9)
    plain = normals(depth, camera, radius=1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = normals(depth, camera, radius=1)
        assert ensemble_deciles(depth[None, None]).mean.dtype == torch.float32
    for a, b in zip(plain, inside, strict=True):
        assert a.dtype == b.dtype == torch.float32 and torch.equal(a.nan_to_num(), b.nan_to_num())


@pytest.mark.torch
def test_checks_are_traced_without_a_graph_break() -> None:
    torch = pytest.importorskip("torch")

    def scaled(x: Any, y: Any) -> Any:
        return x * arrays.check("x", x, "float32", ("N", "M"), like=y)["N"]

    x = torch.ones(3, 4)
    assert torch.equal(torch.compile(scaled, fullgraph=True, backend="eager")(x, x), 3 * x)


@pytest.mark.torch
@pytest.mark.filterwarnings("error")
def test_a_label_op_is_one_graph_break() -> None:
    torch = pytest.importorskip("torch")
    scores, camera = torch.rand(8, 9), Camera(9, 9, 4, 4, 8, 9)
    for op in (decile_rank, lambda x: normals(x, camera, radius=1)[0]):

        def step(x: Any, op: Any = op) -> Any:
            return op(x * 2) + 1

        graphs: list[Any] = []
        torch._dynamo.reset()
        compiled = torch.compile(step, backend=lambda graph, _, seen=graphs: seen.append(graph) or graph.forward)
        assert torch.equal(compiled(scores), step(scores)) and len(graphs) == 2
        torch._dynamo.reset()
        with pytest.raises(torch._dynamo.exc.Unsupported, match="disable"):
            torch.compile(step, backend="eager", fullgraph=True)(scores)


@pytest.mark.gpu
@pytest.mark.torch
def test_label_ops_are_captured_in_a_cuda_graph() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    maps, camera = torch.rand(3, 2, 40, 50, device="cuda"), Camera(50, 50, 25, 20, 40, 50)

    def work() -> list[Any]:
        found = ensemble_deciles(maps, check=False)
        labels = hn_labels(maps[0], camera)
        return [*found, decile_rank(maps[0], check=False), *normals(maps[0], camera), labels.label, labels.up]

    work()  # loads the module: a library's first load is not capturable
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = work()
    for seed in range(3):
        maps.copy_(torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed)))
        graph.replay()
        for a, b in zip(captured, work(), strict=True):
            assert torch.equal(a.nan_to_num(), b.nan_to_num())


@pytest.mark.gpu
def test_cupy_arrays_stay_cupy_on_the_current_stream() -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.runtime.getDeviceCount() == 0:
        pytest.skip("no CUDA device")
    scores = cupy.random.random((40, 50), dtype=cupy.float32)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        assert arrays.stream(scores) == stream.ptr
        ranks = decile_rank(scores)
    assert isinstance(ranks, cupy.ndarray)
    assert (ranks.get() == decile_rank(scores.get())).all()
    with pytest.raises(ValueError, match="must be a numpy array like the other arguments; got a cupy cuda:0 array"):
        arrays.check("x", scores, "float32", ("N", "M"), like=np.zeros(2))


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
