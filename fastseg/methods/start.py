"""The network as training begins: initialised, transferred into, its first blocks frozen."""

from __future__ import annotations

from dataclasses import replace

from fastseg.data.augment import IMAGENET
from fastseg.methods import Start, TransferConfig
from fastseg.nets import CrossStitch, blocks, build_network, freeze
from fastseg.transfer import Transfer, carry, transfer
from fastseg.weights import Source, read_source

STITCHED = {"channel": "stitched", "scalar": "stitched-scalar"}


def start(network: str, classes: int, seed: int, init_from: str, how: TransferConfig | None = None) -> Start:
    """A network of `classes` outputs, begun from `init_from` where that is given.

    The normalisation is the source's where it states one, else ImageNet's.
    ValueError: an unknown network or source, nothing that matches, more blocks frozen than there are, or blocks
    frozen that were never trained.
    """
    how = how or TransferConfig()
    if not init_from and (how.freeze or how.mode != "all"):
        raise ValueError(
            f"transfer.mode {how.mode} with {how.freeze} frozen blocks needs trained weights: give --init-from as well"
        )
    name = f"{STITCHED[how.share]}/{network}" if how.mode == "cross_stitch" else network
    net = build_network(name, classes, seed)
    if not init_from:
        return Start(net, name, IMAGENET, None)
    source = read_source(init_from)
    if isinstance(net, CrossStitch):
        report = _beside(source, net, how)
    else:
        report = transfer(source, net, "encoder" if how.mode == "encoder" else "all")
        freeze(net, len(blocks(net)) if how.freeze == -1 else how.freeze)
    return Start(net, name, source.normalisation or IMAGENET, report)


def _beside(source: Source, net: CrossStitch, how: TransferConfig) -> Transfer:
    """What went into the fixed encoder and, where it starts from the same weights, into the network that learns."""
    fixed = carry(source, net.fixed.state_dict(), set())
    if fixed.missing:
        raise ValueError(f"{source.name} does not fill the fixed encoder: {fixed.missing[0]} is missing")
    inside, other = _named(fixed.matched, "fixed."), _named(fixed.reshaped, "fixed.")
    if how.own == "random":
        return replace(fixed, matched=inside, reshaped=other)
    own = transfer(source, net.net)
    return replace(
        own, matched=inside + _named(own.matched, "net."), reshaped=other + _named(own.reshaped, "net."),
        missing=_named(own.missing, "net."),
    )  # fmt: skip


def _named(names: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names)
