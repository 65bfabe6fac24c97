"""A vision transformer's learned positions, for a network whose patches lie on another grid."""

from __future__ import annotations

import math

from fastseg.tensors import Tensor

ENDING = "pos_embed"
MOST_PREFIXES = 8  # class and register tokens, which have positions beside the grid's


def regridded(name: str, positions: Tensor, like: Tensor) -> Tensor:
    """Positions (1, p + g^2, C) of a g x g grid resized to that of `like` (1, p + h^2, C), bicubic with antialias.

    The p that stand for class and register tokens are kept as they are; a tensor of another kind is given back.
    ValueError: not a square grid, or other tokens beside it.
    """
    if not name.endswith(ENDING) or positions.ndim != 3 or positions.shape[::2] != like.shape[::2]:
        return positions
    (mine, prefixes), (grid, wanted) = (_grid(name, each.shape[1]) for each in (positions, like))
    if prefixes != wanted:
        raise ValueError(
            f"{name} has {prefixes} positions beside a grid of {mine}x{mine} patches; the network has {wanted} beside "
            f"{grid}x{grid}: these weights are of another kind of vision transformer"
        )
    from timm.layers.pos_embed import resample_abs_pos_embed

    found: Tensor = resample_abs_pos_embed(positions.float(), [grid, grid], [mine, mine], prefixes)
    return found.to(positions.dtype)


def _grid(name: str, count: int) -> tuple[int, int]:
    """(side, prefixes) of `count` positions."""
    for prefixes in range(min(MOST_PREFIXES, count)):
        side = math.isqrt(count - prefixes)
        if side * side == count - prefixes:
            return side, prefixes
    raise ValueError(f"{name} has {count} positions, which are no square grid of patches and a class token")
