"""Classifiers of ONNX files: the logits of onnxruntime, gradients of the input, an ensemble's member, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fastseg.classifiers import ClassifierAt, open_member, read_classifiers
from fastseg.labels.pssl import Ensemble, PSSLLabel
from fastseg.labels.pssl_config import PSSLConfig
from fastseg.nets.onnx_net import read_onnx

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx", reason="ONNX is an extra")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def saved(path: Path, nodes: list[Any], constants: dict[str, np.ndarray[Any, Any]]) -> Path:
    """A file of the graph from `x` (N, 3, H, W) to `y`."""
    given = helper.make_tensor_value_info("x", FLOAT, ["n", 3, "h", "w"])
    told = helper.make_tensor_value_info("y", FLOAT, None)
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [given], [told], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def small(path: Path, classes: int = 3) -> Path:
    """A network as exporters write them: convolution, normalisation, clip, pooling, a flattening by shape."""
    rng = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray[Any, Any]:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "k", "kb"], ["a"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("BatchNormalization", ["a", "s", "b", "m", "v"], ["c"]),
        helper.make_node("Clip", ["c", "", "six"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("AveragePool", ["e"], ["f"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Shape", ["g"], ["sides"]),
        helper.make_node("Gather", ["sides", "zero"], ["n"], axis=0),
        helper.make_node("Concat", ["n", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["g", "shape"], ["h"]),
        helper.make_node("Gemm", ["h", "w", "wb"], ["y"], transB=1),
    ]
    whole = {"zero": np.array([0]), "rest": np.array([-1]), "six": np.array(6, np.float32)}
    parts = {"k": values(8, 3, 3, 3), "kb": values(8), "s": values(8), "b": values(8), "m": values(8)}
    return saved(path, nodes, {**whole, **parts, "v": abs(values(8)) + 0.1, "w": values(classes, 8), "wb": values(3)})


def runtime(path: Path, images: torch.Tensor) -> torch.Tensor:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the oracle of ONNX")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


def test_the_logits_are_onnxruntimes(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx")
    images = torch.randn(2, 3, 21, 34, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(read_onnx(path)(images), runtime(path, images), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_exported_networks_have_the_gradients_they_had(arch: str, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    net = timm.create_model(arch, num_classes=5).eval().requires_grad_(False)
    size = net.pretrained_cfg["input_size"][-1]
    images = torch.randn(2, 3, size, size)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.onnx.export(net, (images,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    program.save(tmp_path / "net.onnx")
    ours = read_onnx(tmp_path / "net.onnx")
    found = []
    for each in (net, ours):
        given = images.clone().requires_grad_()
        logits = each(given)
        found.append((logits, torch.autograd.grad(logits.softmax(1)[:, 1].sum(), given)[0]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    scale = float(found[0][1].abs().max())
    torch.testing.assert_close(found[1][1] / scale, found[0][1] / scale, rtol=0, atol=1e-4)


def test_a_file_in_a_list_is_a_member_like_any_other(tmp_path: Path) -> None:
    small(tmp_path / "net.onnx")
    (tmp_path / "models.json").write_text('[{"arch": "onnx", "weights": "net.onnx", "size": 32}]')
    (at,) = read_classifiers(tmp_path / "models.json")
    member = open_member(at, ["a", "b", "c"])
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    ensemble = Ensemble([member], PSSLConfig(samples=3, size=32))
    for label in ensemble.label(images, [0, 2], ["one", "two"]):
        assert isinstance(label, PSSLLabel) and set(np.unique(label.deciles)) == set(range(10))
    with pytest.raises(ValueError, match="has 3 outputs for 2 classes"):
        open_member(at, ["a", "b"])


def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for data, said in ((b"\xff" * 40, "cannot be decoded"), (b"", "one input; it has 0")):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=said):
            read_onnx(path)
    saved(path, [helper.make_node("Loop", ["x"], ["y"])], {})
    with pytest.raises(ValueError, match="Loop: operations that are not known here"):
        read_onnx(path)
    model = onnx.load_model_from_string(small(path).read_bytes())
    model.graph.initializer[3].data_location = onnx.TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="its weights lie in a file beside it"):
        read_onnx(path)
    (tmp_path / "models.json").write_text('[{"arch": "onnx"}]')
    with pytest.raises(ValueError, match=r"onnx needs an \.onnx file as weights"):
        read_classifiers(tmp_path / "models.json")


def test_a_graph_of_one_image_alone_is_refused_before_the_first_picture(tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["g"]), helper.make_node("Reshape", ["g", "shape"], ["y"])]
    path = saved(tmp_path / "net.onnx", nodes, {"shape": np.array([1, 3])})
    with pytest.raises(ValueError, match="does not take some images of 32x32 at a time"):
        open_member(ClassifierAt("onnx", str(path), "net", size=32), ["a", "b", "c"])


def test_its_constants_are_parameters_that_follow_the_module(tmp_path: Path) -> None:
    net: nn.Module = read_onnx(small(tmp_path / "net.onnx"))
    assert all(p.dtype == torch.bfloat16 for p in net.to(torch.bfloat16).parameters())
    assert net(torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16
