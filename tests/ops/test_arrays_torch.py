"""The array door for tensors: what is refused, and what torch's grad mode, autocast, compile and graphs do to an op."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastseg.frames import Camera
from fastseg.ops import arrays
from fastseg.ops.decile_rank import decile_rank, ensemble_deciles
from fastseg.ops.hn_labels import hn_labels
from fastseg.ops.normals import normals


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

    work()  # loads the module and uploads the label's edges, neither of which can be captured
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
