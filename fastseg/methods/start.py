"""The network as training begins: initialised, transferred into, its first blocks frozen."""

from __future__ import annotations

from fastseg.data.augment import IMAGENET
from fastseg.methods import Start
from fastseg.nets import build_network, freeze
from fastseg.transfer import read_source, transfer


def start(network: str, classes: int, seed: int, init_from: str, frozen: int) -> Start:
    """A network of `classes` outputs; everything but its classifier from `init_from` where that is given.

    The normalisation is the source's where it states one, else ImageNet's.
    ValueError: an unknown network or source, nothing that matches, more blocks frozen than there are, or blocks
    frozen that were never trained.
    """
    if frozen and not init_from:
        raise ValueError(f"--freeze {frozen} would keep random weights; give --init-from as well")
    net = build_network(network, classes, seed)
    if not init_from:
        return Start(net, IMAGENET, None)
    source = read_source(init_from)
    report = transfer(source, net)
    freeze(net, frozen)
    return Start(net, source.normalisation or IMAGENET, report)
