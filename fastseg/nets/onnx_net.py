"""A network of an ONNX file as a torch module, for gradients of its input: read as data, nothing in it can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastseg.nets.onnx_ops import OPS

MAX_BYTES = 2**31


@dataclass(frozen=True)
class Node:
    """One step: what it does, on which values, to which, with which attributes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class OnnxNet(nn.Module):
    """What the graph gives for its one input; its floating-point constants are the module's parameters."""

    def __init__(self, nodes: Sequence[Node], constants: Mapping[str, Tensor], given: str, result: str) -> None:
        super().__init__()
        self._nodes, self._given, self._result = tuple(nodes), given, result
        self._places: dict[str, str] = {}
        for number, (name, value) in enumerate(constants.items()):
            place = self._places[name] = f"constant_{number}"
            if value.is_floating_point():
                self.register_parameter(place, nn.Parameter(value, requires_grad=False))
            else:
                self.register_buffer(place, value)

    def forward(self, images: Tensor) -> Tensor:
        values: dict[str, Any] = {name: getattr(self, place) for name, place in self._places.items()}
        values[self._given], values[""] = images, None  # an input that is left out has the empty name
        for node in self._nodes:
            found = OPS[node.op](node.attributes, *(values[name] for name in node.inputs))
            found = found if isinstance(found, tuple) else (found,)
            values.update(zip(node.outputs, found, strict=False))
        result: Tensor = values[self._result]
        return result


def read_onnx(path: Path) -> OnnxNet:
    """The network of FILE.onnx; ValueError for no such file, operations that are not known, or weights elsewhere."""
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f"{path}: reading ONNX needs onnx: pip install 'fastseg[onnx]'") from error
    from google.protobuf.message import DecodeError

    if path.stat().st_size >= MAX_BYTES:
        raise ValueError(f"{path}: expected an ONNX file of less than {MAX_BYTES} bytes")
    try:
        graph = onnx.load_model_from_string(path.read_bytes()).graph
    except DecodeError as error:
        raise ValueError(f"{path}: expected an ONNX file; it cannot be decoded") from error
    tensors = {each.name: each for each in graph.initializer}
    given = [each.name for each in graph.input if each.name not in tensors]
    if len(given) != 1 or not graph.output or not graph.node:
        raise ValueError(f"{path}: expected an ONNX network of one input; it has {len(given)}")
    if unknown := sorted({node.op_type for node in graph.node if node.op_type not in OPS}):
        raise ValueError(f"{path}: {', '.join(unknown)}: operations that are not known here; known: {', '.join(OPS)}")
    nodes = [Node(node.op_type, tuple(node.input), tuple(node.output), _attributes(node, path)) for node in graph.node]
    constants = {name: _tensor(each, path) for name, each in tensors.items()}
    return OnnxNet(nodes, constants, given[0], graph.output[0].name)


def _attributes(node: Any, path: Path) -> dict[str, Any]:
    import onnx

    found: dict[str, Any] = {}
    for each in node.attribute:
        value = onnx.helper.get_attribute_value(each)
        if isinstance(value, onnx.GraphProto):
            raise ValueError(f"{path}: {node.op_type} holds a graph of its own; that is not known here")
        if isinstance(value, onnx.TensorProto):
            value = _tensor(value, path)
        found[each.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _tensor(stated: Any, path: Path) -> Tensor:
    import onnx

    if stated.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"{path}: its weights lie in a file beside it; save it with all of them inside")
    try:
        values = onnx.numpy_helper.to_array(stated)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: the tensor {stated.name!r} is damaged: {error}") from error
    found: Tensor = torch.from_numpy(values.copy())
    return found.float() if found.dtype in (torch.float16, torch.float64) else found
