"""The op `gated_conv` as torch sees it: gradients, layouts, compile, autocast; the reference against torch itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastseg.ops.gated_conv import gated_dilated_conv2d, gated_dilated_pool2d
from fastseg.reference import gated_conv as reference

torch = pytest.importorskip("torch")
F: Any = pytest.importorskip("torch.nn.functional")

pytestmark = pytest.mark.torch
DILATIONS = (1, 2, 5)
Case = dict[str, Any]


def case(seed: int = 0, outputs: int = 4, dtype: Any = torch.float64, **sizes: int) -> Case:
    """x, weight, gate with gradients, scale and shift without."""
    generator = torch.Generator().manual_seed(seed)
    n, channels, height, width = (sizes.get(name, size) for name, size in zip("nchw", (2, 3, 5, 7), strict=True))

    def random(*shape: int, grad: bool = True) -> Any:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad)

    return {
        "x": random(n, channels, height, width),
        "weight": random(3, outputs, channels, 3, 3),
        "gate": random(n, 3, height, width),
        "scale": random(3, outputs, grad=False),
        "shift": random(3, outputs, grad=False),
    }


def five_convolutions(c: Case, relu: bool) -> Any:
    """The dense computation in torch's own operators."""
    y = 0.0
    for k, d in enumerate(DILATIONS):
        branch = F.conv2d(c["x"], c["weight"][k], padding=d, dilation=d)
        branch = c["scale"][k][:, None, None] * branch + c["shift"][k][:, None, None]
        y = y + c["gate"][:, k : k + 1] * (branch.relu() if relu else branch)
    return y


def ours(c: Case, relu: bool = False, hard: bool = False) -> Any:
    return gated_dilated_conv2d(
        c["x"], c["weight"], c["gate"], DILATIONS, scale=c["scale"], shift=c["shift"], relu=relu, hard=hard
    )


@pytest.mark.parametrize("relu", [False, True])
def test_value_and_gradients_are_those_of_torch_convolutions(relu: bool) -> None:
    c = case()
    wanted, found = five_convolutions(c, relu), ours(c, relu)
    torch.testing.assert_close(found, wanted)
    leaves = (c["x"], c["weight"], c["gate"])
    dy = torch.randn_like(wanted)
    torch.testing.assert_close(torch.autograd.grad(found, leaves, dy), torch.autograd.grad(wanted, leaves, dy))


def test_the_reference_is_torch_convolutions_and_their_gradients() -> None:
    c = case(1)
    wanted = five_convolutions(c, relu=True)
    dy = torch.randn_like(wanted)
    arguments = [c[name].detach().numpy() for name in ("x", "weight", "gate")]
    options: dict[str, Any] = {"scale": c["scale"].numpy(), "shift": c["shift"].numpy(), "relu": True}
    found = reference.gated_dilated_conv2d(*arguments, DILATIONS, **options)
    np.testing.assert_allclose(found, wanted.detach().numpy(), atol=1e-12)
    exact = torch.autograd.grad(wanted, (c["x"], c["weight"], c["gate"]), dy)
    for own, other in zip(
        reference.gated_dilated_conv2d(*arguments, DILATIONS, **options, dy=dy.numpy()), exact, strict=True
    ):
        np.testing.assert_allclose(own, other.numpy(), atol=1e-12)


def test_the_reference_pools_as_torch_does() -> None:
    x, gate = case(2, h=9, w=8)["x"].detach(), torch.ones(2, 1, 9, 8, dtype=torch.float64)
    for d in (1, 2, 3):
        ninth = torch.full((3, 1, 3, 3), 1 / 9, dtype=torch.float64)
        average = F.conv2d(x, ninth, padding=d, dilation=d, groups=3)
        largest = F.max_pool2d(F.pad(x, [d] * 4, value=-torch.inf), 3, 1, 0, d)
        for kind, wanted in (("avg", average), ("max", largest)):
            found = reference.gated_dilated_pool2d(x.numpy(), gate.numpy(), (d,), kind)
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-12)


@pytest.mark.parametrize(("relu", "hard"), [(False, False), (True, False), (True, True)])
def test_gradcheck_of_the_convolution(relu: bool, hard: bool) -> None:
    c = case(3, n=1, c=2, h=3, w=4, outputs=2)
    if hard:
        c["gate"] = c["gate"].detach()
    leaves = [c[name] for name in ("x", "weight", "gate") if c[name].requires_grad]
    assert torch.autograd.gradcheck(lambda *_: ours(c, relu, hard), leaves)


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("hard", [False, True])
def test_gradcheck_of_the_pooling(kind: Any, hard: bool) -> None:
    c = case(4, n=1, c=2, h=3, w=4)
    gate = c["gate"].detach() if hard else c["gate"]
    leaves = [c["x"]] if hard else [c["x"], gate]
    assert torch.autograd.gradcheck(lambda *_: gated_dilated_pool2d(c["x"], gate, DILATIONS, kind, hard=hard), leaves)


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_operators_pass_opcheck(layout: str) -> None:
    from fastseg.ops import gated_conv_torch as operators

    c = case(5, dtype=torch.float32)
    x = c["x"].detach().contiguous(memory_format=getattr(torch, layout)).requires_grad_()
    for hard in (False, True):
        arguments = (x, c["weight"], c["gate"], list(DILATIONS), c["scale"], c["shift"], True, hard)
        torch.library.opcheck(operators._conv, arguments)
    pooled = (c["x"], c["gate"], list(DILATIONS), "max", False)
    torch.library.opcheck(operators._pool, pooled)


def test_channels_last_in_gives_channels_last_out() -> None:
    c = case(6)
    wanted = ours(c, relu=True)
    dy = torch.randn_like(wanted)
    leaves = (c["x"], c["weight"], c["gate"])
    exact = torch.autograd.grad(wanted, leaves, dy)
    c["x"] = c["x"].detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    found = ours(c, relu=True)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, wanted)
    grads = torch.autograd.grad(
        found, (c["x"], c["weight"], c["gate"]), dy.expand_as(dy).transpose(2, 3).transpose(2, 3)
    )
    torch.testing.assert_close(grads, exact)
    assert grads[0].is_contiguous(memory_format=torch.channels_last)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    found: Callable[..., Any] = torch.compile(function, fullgraph=True, backend="aot_eager")
    return found


def test_both_compile_without_a_graph_break() -> None:
    c = case(7, dtype=torch.float32)
    x, gate = c["x"], c["gate"]

    def both(x: Any, weight: Any, gate: Any) -> Any:
        pooled = gated_dilated_pool2d(2 * x, gate.softmax(1), DILATIONS, "max")
        return gated_dilated_conv2d(pooled, weight, gate, DILATIONS, relu=True).sin().sum()

    leaves = (x, c["weight"], gate)
    wanted = torch.autograd.grad(both(*leaves), leaves)
    torch.testing.assert_close(torch.autograd.grad(compiled(both)(*leaves), leaves), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_its_type_and_gates_in_float32(dtype: Any) -> None:
    c = case(8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        y = ours(c)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), five_convolutions(c, relu=False), rtol=0.02, atol=0.3)  # 8 or 11 bits
    y.float().sum().backward()
    assert c["x"].grad.dtype == c["weight"].grad.dtype == c["gate"].grad.dtype == torch.float32


def test_a_hard_gate_has_no_gradient() -> None:
    c = case(9)
    ours(c, hard=True).sum().backward()
    assert c["gate"].grad is None and c["x"].grad is not None


def test_a_scale_that_wants_a_gradient_is_refused() -> None:
    c = case(10)
    c["scale"].requires_grad_()
    with pytest.raises(ValueError, match="scale is a constant of this op"):
        ours(c)


def test_threads_of_torch_give_the_same_bits() -> None:
    c = case(11, h=20, w=21, outputs=40, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y = ours(c, relu=True)
            results.append([y, *torch.autograd.grad(y.sum(), (c["x"], c["weight"], c["gate"]))])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
