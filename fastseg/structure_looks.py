"""What a label autoencoder, or a network that one regularised, makes of a map or an image: bottleneck, and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fastseg.checkpoint import Checkpoint
from fastseg.data.augment import resized
from fastseg.data.label_maps import nearest
from fastseg.inference import reads_labels, restored
from fastseg.methods import RegulariserConfig
from fastseg.methods.regulariser import BRANCH, chosen_taps, look_at, padded_size
from fastseg.nets import looked
from fastseg.nets.label_autoencoder import LabelAutoencoder, LabelDecoder
from fastseg.nets.regulariser import DecoderBranch

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """What was made of one example, at the size of training.

    label        (h, w) the truth
    told         pictures of labels by what they are: the reconstruction; or prediction and auxiliary prediction
    bottleneck   (C, h/16, w/16) float32
    """

    label: Labels
    told: dict[str, Labels]
    bottleneck: npt.NDArray[np.float32]


class Looker:
    """A checkpoint that sees labels (a label autoencoder's) or images (of a network that a decoder regularised).

    ValueError: a network that was trained without a decoder branch.
    """

    def __init__(self, found: Checkpoint) -> None:
        self.of_labels, self.record = reads_labels(found), found.record
        self.net = restored(found)
        self.branch = None if self.of_labels else restored_branch(found, self.net)

    @torch.inference_mode()
    def __call__(self, image: Labels, label: npt.NDArray[np.unsignedinteger]) -> Seen:
        """image (H, W, 3) uint8, label (H, W)."""
        size = self.record.size
        small = nearest(np.asarray(label, np.uint8), size)
        if isinstance(self.net, LabelAutoencoder):
            maps = torch.from_numpy(small.copy())[None]
            bottleneck, logits = self.net.encoder(maps).bottleneck, {"reconstruction": self.net.reconstructed(maps)}
        else:
            assert self.branch is not None, "a network comes with its branch"
            seen = self.record.normalisation(resized(image, size)[None])
            found, padded = looked(self.net, seen), padded_size(self.net, size)
            second = self.branch(found, padded)[..., : size[0], : size[1]]
            bottleneck = self.branch.bottleneck(found, padded)
            logits = {"prediction": found.logits, "auxiliary prediction": second}
        told = {name: np.asarray(each[0].argmax(0).numpy(), np.uint8) for name, each in logits.items()}
        return Seen(small, told, bottleneck[0].float().numpy())


def restored_branch(found: Checkpoint, net: nn.Module) -> DecoderBranch:
    """The branch that training had beside `net`, from the training state of its checkpoint."""
    settings = cast("dict[str, Any]", found.record.config.get("regulariser", {}))
    config = RegulariserConfig(**settings)
    if config.kind != "decoder":
        raise ValueError(
            f"{found.path} was trained with regulariser {config.kind}: a label autoencoder's run is needed here, or "
            "one with --regulariser decoder"
        )
    state = {key.removeprefix(f"{BRANCH}."): value for key, value in found.state.items() if key.startswith(BRANCH)}
    kernels = [state[f"decoder.convolutions.{index}.weight"] for index in range(5)]
    decoder = LabelDecoder(tuple(int(each.shape[1]) for each in reversed(kernels)), int(kernels[-1].shape[0]))
    maps, padded = look_at(net, found.record.size)
    branch = DecoderBranch(decoder, chosen_taps(maps, config, padded)[0], int(state["project.weight"].shape[1]), False)
    branch.load_state_dict(state)
    return branch.eval()
