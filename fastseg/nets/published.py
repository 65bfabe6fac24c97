"""Published decoders (segmentation-models-pytorch) over timm's encoders."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn


def published(decoder: str, encoder: str, classes: int, output_stride: int = 0) -> nn.Module:
    """A segmentation-models-pytorch network without published weights: (N, 3, H, W) -> (N, classes, H, W).

    output_stride   of deeplabv3, deeplabv3plus and pspnet: 8 or 16; 0 = the paper's (8, 16 and 8)

    ValueError: an unknown decoder or encoder, or a pair that does not fit together.
    """
    import segmentation_models_pytorch as smp

    if decoder not in smp.MODEL_ARCHITECTURES_MAPPING:
        ours = ["segnet", "hypercolumn", "fcn", "ocrnet", "skip"]
        raise ValueError(unknown("decoder", decoder, [*ours, *smp.MODEL_ARCHITECTURES_MAPPING]))
    try:
        options = _options(decoder, output_stride)
        net = smp.create_model(decoder, _encoder(encoder), encoder_weights=None, classes=classes, **options)
    except (
        ValueError, TypeError, RuntimeError, AttributeError, KeyError, NotImplementedError, AssertionError,
    ) as error:  # fmt: skip
        cause = str(error).strip().splitlines()[0] if str(error).strip() else "its stages cannot be dilated"
        if "output_stride" in cause:
            cause = "its stages cannot be dilated"
        raise ValueError(f"decoder {decoder} does not go over encoder {encoder}: {cause}") from error
    assert isinstance(net, nn.Module)
    return net


def pyramid(encoder: str, inputs: int = 3) -> tuple[nn.Module, list[int]]:
    """One of timm's encoders without published weights, and the channels of what it gives: the input, five halvings.

    inputs   channels of the input

    ValueError: an encoder that is not known, or without five halvings.
    """
    import segmentation_models_pytorch as smp

    name = _encoder(encoder)
    try:
        found = smp.encoders.get_encoder(name, in_channels=inputs, depth=5, weights=None)
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, AssertionError) as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"encoder {encoder} gives no pyramid of five halvings: {cause[0]}") from error
    channels = list(found.out_channels)
    if len(channels) != 6 or found.output_stride != 32:
        raise ValueError(f"encoder {encoder} gives no pyramid of five halvings: its maps have {channels} channels")
    return found, channels


def dilated(encoder: str, output_stride: int) -> tuple[nn.Module, int]:
    """One of timm's encoders without published weights whose last map has that stride, and the map's channels.

    ValueError: an encoder that is not known, or whose stages cannot be dilated.
    """
    import segmentation_models_pytorch as smp

    name = _encoder(encoder)
    try:
        found = smp.encoders.get_encoder(name, depth=5, weights=None, output_stride=output_stride)
    except (
        ValueError,
        TypeError,
        RuntimeError,
        AttributeError,
        KeyError,
        NotImplementedError,
        AssertionError,
    ) as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"encoder {encoder} cannot have a stride of {output_stride}: {cause}") from error
    return found, int(found.out_channels[-1])


def _options(decoder: str, output_stride: int) -> dict[str, Any]:
    """What a decoder needs beyond the library's defaults to be the paper's network."""
    if decoder == "pspnet":  # the library stops at the encoder's third stage; the paper dilates the last two
        stride = output_stride or 8
        return {"encoder_depth": 5, "psp_out_channels": 512, "upsampling": stride, "output_stride": stride}
    if decoder == "dpt":
        return {"dynamic_img_size": True}  # any size that the patches divide, not the pre-training's alone
    return {"encoder_output_stride": output_stride} if output_stride else {}


def _encoder(name: str) -> str:
    """segmentation-models-pytorch's name of a timm encoder."""
    import timm

    if not timm.is_model(name):
        raise ValueError(unknown("encoder", name, timm.list_models()))
    return f"tu-{name}"


def unknown(what: str, name: str, names: list[str]) -> str:
    """The sentence for a name that is not known, with the nearest ones that are."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:12]
    return f"unknown {what} {name!r}; the nearest known: {', '.join(near)}"
