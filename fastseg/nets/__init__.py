"""Networks by name, and what every network here has: logits, convolution blocks, a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.classifier import Classifier, classifier
from fastseg.nets.cross_stitch import CrossStitch, Share, cross_stitch
from fastseg.nets.depth import SCALES, SkipNet, skip
from fastseg.nets.fcn import fcn
from fastseg.nets.features import Features, Network, features
from fastseg.nets.flow import FlowNet, flow_net
from fastseg.nets.gating_build import gated
from fastseg.nets.gating_net import GatedNet
from fastseg.nets.hypercolumn import hypercolumn
from fastseg.nets.label_autoencoder import label_autoencoder
from fastseg.nets.ocr import hrnet_stages, ocrnet
from fastseg.nets.pose import PoseNet
from fastseg.nets.published import published, unknown
from fastseg.nets.segnet import SegNet, segnet

__all__ = [
    "Classifier", "CrossStitch", "Features", "SegNet", "blocks", "build_network", "classifier_keys", "disparities",
    "encoder_blocks", "encoder_name", "features", "flows", "freeze", "logits", "looked", "measures_depth",
    "scored", "stride", "unknown",
]  # fmt: skip

OURS: dict[str, Callable[[str, int], nn.Module]] = {
    "segnet": segnet, "hypercolumn": hypercolumn, "fcn": fcn, "ocrnet": ocrnet, "skip": skip
}  # fmt: skip
STITCHED: dict[str, Share] = {"stitched": "channel", "stitched-scalar": "scalar"}
CLASSIFY, FLOW, INPAINT, GATED, LABELS = "classify", "flow", "inpaint", "gated", "label-autoencoder"
DEPTH, DEPTH_POSE, DEPTH_CAMERA = "depth", "depth-pose", "depth-camera"
ENCODER = "vgg16_bn"  # of `segnet` alone


def build_network(name: str, classes: int, seed: int = 0, output_stride: int = 0) -> nn.Module:
    """A freshly initialised network, float32, on the CPU: (N, 3, H, W) -> logits (N, classes, H, W).

    name    `decoder/encoder`: `segnet/vgg16_bn` (or `segnet`), `hypercolumn/densenet67`, `fcn/vgg16`,
            `ocrnet/hrnet_w18`, `skip/resnet18`, or a decoder of segmentation-models-pytorch over an encoder of timm:
            `deeplabv3/resnet50`, `pspnet/resnet50`, `upernet/resnet101`, `dpt/vit_large_patch16_224`, ...
            `stitched/` or `stitched-scalar/` before any of them: beside a fixed copy of its encoder (CrossStitch);
            `classify/` before any of them: its encoder alone, with logits (N, classes) of whole images (Classifier)
            `depth/` before any of them: one output, for `disparities`; skip has its four scales then
            `depth-pose/` before any of them: the same with a PoseNet as its `pose`, which `forward` leaves alone
            `depth-camera/` before any of them: the same, and the PoseNet has a LearnedCamera
            `gated-WORDS/` before an encoder, or any decoder/encoder: a head with depth-aware gates (GatedNet)
            `flow/` before any of them: a FlowNet over its encoder, for `flows`
            `inpaint/` before any of them: three outputs, a picture's colours
            `label-autoencoder/128`, or 32 or 256: of label maps (LabelAutoencoder)
    seed    of the initial weights; the global generator is left as it was

    ValueError: a name that is not known, or classes < 1.
    """
    if classes < 1:
        raise ValueError(f"a network needs at least one class; got {classes}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(name, classes, output_stride, lambda rest, count: build_network(rest, count, seed, output_stride))


def _built(name: str, classes: int, output_stride: int, inner: Callable[[str, int], nn.Module]) -> nn.Module:
    """`build_network` once the generator is seeded; `inner` builds the network of a longer name's rest."""
    kind, _, plain = name.partition("/")
    if kind == LABELS:
        return label_autoencoder(plain, classes)
    if plain and kind in (DEPTH, DEPTH_POSE, DEPTH_CAMERA):
        return _depth_network(kind, plain, classes, inner)
    if plain and kind in (FLOW, INPAINT):
        return _pretext_network(kind, plain, classes, inner)
    if plain and kind in STITCHED:
        return cross_stitch(inner(plain, classes), STITCHED[kind])
    if plain and kind == CLASSIFY:
        whole = inner(plain, 1)
        return classifier(whole, blocks(whole), classes)
    if plain and kind.partition("-")[0] == GATED:
        return gated(name, classes, lambda rest: inner(rest, classes))
    if kind != "segnet" and not (kind and plain):
        raise ValueError(f"a network is named decoder/encoder, as in deeplabv3/resnet50 or segnet; got {name!r}")
    return OURS[kind](plain or ENCODER, classes) if kind in OURS else published(kind, plain, classes, output_stride)


def _depth_network(kind: str, name: str, outputs: int, inner: Callable[[str, int], nn.Module]) -> nn.Module:
    """A network of one output, and of several scales where its decoder has them; its motion network where asked for."""
    if outputs != 1:
        raise ValueError(f"a depth network has one output; got {outputs}")
    decoder, _, encoder = name.partition("/")
    net = skip(encoder, 1, SCALES) if decoder == "skip" and encoder else inner(name, 1)
    if kind != DEPTH:
        net.add_module("pose", PoseNet(camera=kind == DEPTH_CAMERA))
    return net


def _pretext_network(kind: str, name: str, outputs: int, inner: Callable[[str, int], nn.Module]) -> nn.Module:
    """A network of what is learned in depth's place: of flow, or of a whole picture from its parts."""
    if outputs != 1:
        raise ValueError(f"a network of {kind} has one kind of output; got {outputs}")
    if kind == INPAINT:
        return inner(name, 3)
    whole = inner(name, 1)
    return flow_net(whole, stride(whole))


def encoder_name(network: str) -> str:
    """The encoder of a network by name, as timm calls it where it has it: resnet50 of deeplabv3/resnet50."""
    name = network.rpartition("/")[2]
    return ENCODER if name == "segnet" else name


def stride(net: nn.Module) -> int:
    """The number that the network's input sides must be multiples of."""
    if isinstance(net, CrossStitch):
        return stride(net.net)
    if isinstance(net, FlowNet):
        return net.step
    encoder: Any = getattr(net, "encoder", None)
    model: Any = getattr(encoder, "model", encoder)
    if hasattr(model, "patch_embed"):  # DPT halves the grid of patches once
        return 2 * int(max(model.patch_embed.patch_size))
    if hasattr(model, "stage4"):  # an HRNet adds up maps of four sizes
        return 32
    if not getattr(net, "requires_divisible_input_shape", False):
        return 1
    return int(getattr(encoder, "output_stride", 32))


def logits(net: nn.Module, images: Tensor, depth: Tensor | None = None) -> Tensor:
    """Logits (N, classes, H, W), or a Classifier's (N, classes), of normalised images (N, 3, H, W) of any size.

    depth   (N, H, W) metres, 0 = no measurement, for a network that `measures_depth`; others leave it unread

    Images are padded at the right and bottom (edge pixels repeated) to the network's stride; the logits are cropped.
    """
    if depth is not None and measures_depth(net):
        found: Tensor = net(images, depth)  # pads both itself
        return found
    found = net(_padded(net, images))
    return _cropped(found, images)


def measures_depth(net: nn.Module) -> bool:
    """Whether the network's gates are measured depth, so that every image needs its own."""
    return isinstance(net, GatedNet) and net.measures


def scored(net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """`logits`, and those of the network's own second classifier where it has one: what training minimises over."""
    if not isinstance(net, Network):
        return logits(net, images), None
    found = looked(net, images)
    return found.logits, found.auxiliary


def looked(net: nn.Module, images: Tensor) -> Features:
    """The features of normalised images (N, 3, H, W) of any size; of the logits alone the padding is cropped away."""
    found = features(net, _padded(net, images))
    second = None if found.auxiliary is None else _cropped(found.auxiliary, images)
    return replace(found, logits=_cropped(found.logits, images), auxiliary=second)


def disparities(net: nn.Module, images: Tensor) -> list[Tensor]:
    """The disparity in [0, 1] at each scale s the network has, (N, 1, H / 2^s, W / 2^s) rounded up, finest first.

    images  (N, 3, H, W), normalised, of any size
    """
    padded = _padded(net, images)
    found = net.scales(padded) if isinstance(net, SkipNet) else [net(padded)]
    sizes = [[-(-side // 2**scale) for side in images.shape[-2:]] for scale in range(len(found))]
    return [each.float().sigmoid()[..., :h, :w] for each, (h, w) in zip(found, sizes, strict=True)]


def flows(net: FlowNet, target: Tensor, source: Tensor) -> list[tuple[int, Tensor]]:
    """(k, flow) of each scale the network has, finest first: (N, 2, H / k, W / k) rounded up, in pixels of that size.

    target, source   (N, 3, H, W) float32 in [0, 1], of any size
    """
    padded = _padded(net, target)
    found = net(padded, _padded(net, source))
    factors = [padded.shape[-1] // each.shape[-1] for each in found]
    height, width = target.shape[-2:]
    return [(k, each[..., : -(-height // k), : -(-width // k)]) for k, each in zip(factors, found, strict=True)]


def _padded(net: nn.Module, images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    step = stride(net)
    padding = (0, -width % step, 0, -height % step)
    return functional.pad(images, padding, mode="replicate") if any(padding) else images


def _cropped(found: Tensor, images: Tensor) -> Tensor:
    return found if found.ndim == 2 else found[..., : images.shape[-2], : images.shape[-1]]


def classifier_keys(net: nn.Module) -> tuple[str, ...]:
    """The state-dict keys of the layer that turns features into classes, the one thing that transfer leaves behind."""
    prefixes = net.classifiers if isinstance(net, Network) else ("segmentation_head.",)
    return tuple(key for key in net.state_dict() if key.startswith(prefixes))


def blocks(net: nn.Module) -> list[list[nn.Module]]:
    """The encoder's convolution blocks from the image on, each a list of modules in order.

    SegNet: conv1 .. conv5. ResNets: the stem, layer1 .. layer4. Others: up to each feature that the decoder takes.

    ValueError: the encoder does not show its blocks.
    """
    return net.stages() if isinstance(net, Network) else encoder_blocks(net.encoder)


def encoder_blocks(encoder: Any) -> list[list[nn.Module]]:
    """The convolution blocks of one of timm's encoders in order; ValueError when it does not show them."""
    model = getattr(encoder, "model", encoder)
    assert isinstance(model, nn.Module)
    if isinstance(returned := getattr(model, "return_layers", None), dict):
        return _split_after(list(model.named_children()), set(returned))
    if hasattr(model, "stage4"):
        return hrnet_stages(model)
    for name in ("blocks", "stages"):
        if isinstance(parts := getattr(model, name, None), nn.Sequential | nn.ModuleList):
            children = list(model.named_children())
            stem = children[: [child for child, _ in children].index(name)]
            return [[module for _, module in stem], *([part] for part in parts)]
    raise ValueError(f"the encoder {type(model).__name__} does not show its convolution blocks; none can be frozen")


def _split_after(children: list[tuple[str, nn.Module]], ends: set[str]) -> list[list[nn.Module]]:
    """Children in order, cut after each one named in `ends`."""
    parts: list[list[nn.Module]] = [[]]
    for name, module in children:
        parts[-1].append(module)
        if name in ends:
            parts.append([])
    return [part for part in parts if part]


def freeze(net: nn.Module, count: int) -> None:
    """None; the first `count` blocks take no gradient, and their batch statistics and dropout rest, even in training.

    ValueError: count is negative or more than the network has.
    """
    parts = blocks(net) if count else []
    if not 0 <= count <= len(parts):
        raise ValueError(f"freeze must lie between 0 and the encoder's {len(blocks(net))} blocks; got {count}")
    for module in (module for part in parts[:count] for module in part):
        module.requires_grad_(False)
        for inner in module.modules():
            inner.eval()
            inner.register_forward_pre_hook(_rest)


def _rest(module: nn.Module, inputs: object) -> None:
    """Before each forward of a frozen module: evaluation mode, whatever `.train()` said since."""
    module.training = False
