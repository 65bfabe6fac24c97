"""Take a trained network elsewhere: `python -m fastseg.export CHECKPOINT --out DIR --form onnx`.

Every export is checked before it is called done, and stands beside MODEL_CARD.md, which says what it was trained on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastseg.checkpoint import Checkpoint
from fastseg.cli import run
from fastseg.inference_depth import depth_limits, predicts_depth
from fastseg.tensors import Module, Tensor

Form = Literal["safetensors", "timm", "smp", "onnx", "torch"]
TOLERANCE = 1e-4  # ONNX Runtime against torch, of the greatest logit or depth


@dataclass(frozen=True)
class Export:
    """Write a checkpoint's network in a form that others read.

    checkpoint  a checkpoint folder, or a run's folder (its last good one)
    out         the folder to write
    form        safetensors: the whole state dict; timm: the encoder's, which timm.create_model(NAME) loads; smp: a
                folder that segmentation-models-pytorch's from_pretrained loads; onnx: images to logits, of a depth
                network to depth in metres, checked with onnxruntime; torch: a torch.export program of the same
    size        HEIGHTxWIDTH of the images that onnx and torch take, empty = as in training
    scores      a file that `fastseg evaluate --json` wrote, for the model card
    licence     of the weights, for the model card; empty = it names what has to be looked up
    """

    checkpoint: Path
    out: Path
    form: Form = "safetensors"
    size: str = ""
    scores: Path | None = None
    licence: str = ""


def main(config: Export) -> int:
    """0; the export is written and checked."""
    from fastseg.checkpoint import load
    from fastseg.inference import restored
    from fastseg.inference_depth import depth_alone
    from fastseg.methods import parse_size
    from fastseg.model_card import model_card

    found = load(config.checkpoint)
    found = depth_alone(found) if predicts_depth(found) else found
    card = model_card(found, config.licence, config.scores)
    size = parse_size(config.size) if config.size else found.record.size
    config.out.mkdir(parents=True, exist_ok=True)
    path = export(found, restored(found), config.form, config.out, size)
    (config.out / "MODEL_CARD.md").write_text(card)
    print(f"{path} written and checked; {config.out / 'MODEL_CARD.md'} says what it is")
    return 0


def export(found: Checkpoint, net: Module, form: Form, out: Path, size: tuple[int, int]) -> Path:
    """The file or folder written. ValueError: a network that does not have the form, or a check that failed."""
    match form:
        case "safetensors":
            return _safetensors(found.weights, out / "model.safetensors", found)
        case "timm":
            return _timm(found, net, out)
        case "smp":
            return _smp(found, net, out)
        case "onnx":
            return _onnx(_emitting(found, net), _emits(found), out / "model.onnx", size)
        case "torch":
            return _torch(_emitting(found, net), out / "model.pt2", size)


def _safetensors(weights: dict[str, Tensor], path: Path, found: Checkpoint) -> Path:
    from safetensors.torch import load_file, save_file

    record = found.record
    facts: dict[str, Any] = {
        "network": record.network,
        "classes": list(record.classes),
        "normalisation": vars(record.normalisation),
    }
    if predicts_depth(found):
        facts["depth"] = depth_limits(found)
    plain = {name: value.contiguous() for name, value in weights.items()}
    save_file(plain, path, {"fastseg": json.dumps(facts, sort_keys=True)})
    _same(plain, load_file(path), path)
    return path


def _timm(found: Checkpoint, net: Module, out: Path) -> Path:
    """The encoder's weights under timm's own names, proved by loading them into timm's model."""
    import timm

    from fastseg.nets import encoder_name

    name = encoder_name(found.record.network)
    if not timm.is_model(name):
        raise ValueError(f"{found.path}: its encoder {name!r} is not one of timm's, so timm cannot load it")
    model = timm.create_model(name, pretrained=False)
    from fastseg.transfer import carry
    from fastseg.weights import Source

    target = model.state_dict()
    own = ("encoder.", "net.encoder.")  # of a cross-stitched network the encoder that was trained
    encoder = {key: value for key, value in found.weights.items() if key.startswith(own)}
    moved = carry(Source(str(found.path), encoder, None), target, set())
    if moved.dropped or moved.reshaped:
        raise ValueError(f"{found.path}: timm's {name} has no place for {(moved.dropped + moved.reshaped)[0]}")
    return _safetensors({key: target[key] for key in moved.matched}, out / f"{name}.safetensors", found)


def _smp(found: Checkpoint, net: Module, out: Path) -> Path:
    """A folder for segmentation-models-pytorch's `from_pretrained`, proved by loading it back."""
    import segmentation_models_pytorch as smp

    model: Any = net
    if not hasattr(model, "save_pretrained"):
        raise ValueError(f"{found.record.network} is not one of segmentation-models-pytorch's networks")
    folder = out / "smp"
    model.save_pretrained(folder)
    _same(model.state_dict(), smp.from_pretrained(str(folder)).state_dict(), folder)
    return folder


def _onnx(net: Module, emits: str, path: Path, size: tuple[int, int]) -> Path:
    """`images` (N, 3, H, W) float32 normalised -> what the network `emits`, any N, checked with onnxruntime."""
    import torch

    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("ONNX needs onnx and onnxruntime: pip install 'fastseg[onnx]'") from error
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.onnx.export(
        net, (images,), input_names=["images"], output_names=[emits], dynamo=True,
        dynamic_shapes={"images": {0: batch}}, verbose=False,
    )  # fmt: skip
    assert program is not None, "the dynamo exporter returns the program"
    program.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (2, 3):
        sample = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = net(sample)
        (found,) = session.run(None, {"images": sample.numpy()})
        worst = float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max())
        if worst > TOLERANCE:
            raise ValueError(f"{path}: onnxruntime differs from torch by {worst:.2g} of the greatest {emits}")
    return path


def _torch(net: Module, path: Path, size: tuple[int, int]) -> Path:
    """A torch.export program of images (N, 3, H, W), any N, checked against the network."""
    import torch

    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(net, (images,), dynamic_shapes={"images": {0: batch}})
    torch.export.save(program, path)
    with torch.inference_mode():
        torch.testing.assert_close(torch.export.load(path).module()(images), net(images), rtol=1e-4, atol=1e-4)
    return path


def _emits(found: Checkpoint) -> str:
    return "depth" if predicts_depth(found) else "logits"


def _emitting(found: Checkpoint, net: Module) -> Module:
    """The network as a module from normalised images (N, 3, H, W) of any size, padding included.

    It gives logits (N, classes, H, W); of a depth network depth (N, H, W) in metres.
    """
    from torch import nn

    from fastseg.nets import disparities, logits
    from fastseg.nets.depth import depth_of

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: Tensor) -> Tensor:
            return logits(self.net, images)

    class Depth(Logits):
        def forward(self, images: Tensor) -> Tensor:
            return depth_of(disparities(self.net, images)[0][:, 0], *limits)

    if not predicts_depth(found):
        return Logits().eval()
    limits = depth_limits(found)
    return Depth().eval()


def _same(written: dict[str, Tensor], read: dict[str, Tensor], path: Path) -> None:
    import torch

    if written.keys() != read.keys() or not all(torch.equal(value.cpu(), read[key]) for key, value in written.items()):
        raise ValueError(f"{path}: what was written does not read back as it was")


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg export CHECKPOINT --out DIR`."""
    return run(Export, main, argv, positional=("checkpoint",), prog="fastseg export")


if __name__ == "__main__":
    sys.exit(cli())
