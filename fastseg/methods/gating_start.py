"""A gated network as a stage begins: from the stage before it, or from trained weights of another kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from fastseg.data.augment import IMAGENET
from fastseg.methods import Start
from fastseg.nets import build_network
from fastseg.nets.gating_build import MultiScale
from fastseg.nets.gating_net import GatedNet
from fastseg.transfer import carry, transfer
from fastseg.weights import read_source

KERNELS = re.compile(r"(recurrent\.)?gating\.conv\.(weight|norms\.\d+\.)")


def begun(name: str, classes: int, seed: int, init_from: str, edges: tuple[float, ...], frozen: bool) -> Start:
    """The network `name`, begun from `init_from` where that is given.

    Of a gated network's checkpoint everything comes over, the classifier too: a stage goes on where another ended, see
    `inherited`. Of other weights all but the classifier does.
    edges    of the depth bins in metres; empty = those of the checkpoint, or the default
    frozen   the encoder's batch statistics stay as they come

    ValueError: an unknown network or source, nothing that matches, or edges that do not fit.
    """
    net = build_network(name, classes, seed)
    assert isinstance(net, GatedNet | MultiScale), "its name begins with gated"
    report, normalisation = None, IMAGENET
    if init_from:
        source = read_source(init_from)
        normalisation = source.normalisation or IMAGENET
        if any(KERNELS.search(key) for key in source.weights):
            weights = dict(inherited(source.weights, net.state_dict()))
            report = carry(replace(source, weights=weights), net.state_dict(), set())
        else:
            report = transfer(source, net)
    if edges and isinstance(net, GatedNet):
        net.set_edges(edges)
    if frozen:
        net.rest_statistics()
    return Start(net, name, normalisation, report)


def inherited(weights: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """(name in the target, tensor) of a gated network's state that another one goes on from.

    One kernel and its batch-norm start all branches (baseline, tied); the first pass's gates, depth branch and
    classifier start the recurrent module's.
    """
    plain = {name.removeprefix("net."): value for name, value in weights.items()}
    for name, wanted in target.items():
        own = name.removeprefix("net.")
        key = own if own in plain else own.removeprefix("recurrent.")
        first = re.sub(r"\.norms\.\d+\.", ".norms.0.", key)
        found = plain.get(key, plain.get(first))
        if found is None:
            continue
        if key.endswith("conv.weight") and found.ndim == 3 and len(found) == 1:
            found = found.expand(len(wanted), -1, -1)
        yield name, found
