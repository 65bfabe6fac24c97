"""The GPU's way to the op `gated_conv`: tiles of columns, the library's GEMM, and kernels before and after it.

A tile is some thousand pixels that meet the same weights; its columns are gathered (pixels, 9 Cin), multiplied on the
matrix units, and combined into y, so that no branch is ever stored. The kernels count the GEMM's result type: with
float16 or bfloat16 a branch's products are rounded to it once, and all sums over branches and taps are float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastseg.ops import arrays

if TYPE_CHECKING:
    from fastseg.ops.gated_conv_call import Call, Gradients

TILE_BYTES = 64 << 20  # of the columns of a tile
CHUNK = 256  # pixels that a warp sorts; csrc's kChunk


@dataclass(frozen=True)
class Tile:
    """Some pixels of one branch: places first .. first + count of `order`, or those pixels themselves."""

    order: arrays.Array | None  # hard and untied: pixels by branch
    where: arrays.Array | None  # of each pixel: its place in `order`
    first: int
    count: int
    branch: int
    weights: int  # which of the weights
    begin: bool  # the pixels' first branch
    end: bool  # and their last


class Work:
    """One call's rows and weights on the device, and its kernels."""

    def __init__(self, call: Call, module: Any) -> None:
        self.call, self.module = call, module
        self.n, self.height, self.width, self.inputs, self.outputs = call.shape
        self.pixels = self.n * self.height * self.width
        self.stream = arrays.stream(call.x)
        self.dtype = arrays.dtype_name(call.x)
        self.wide = "float64" if self.dtype == "float64" else "float32"
        self.x = self.rows(call.x)
        taps = arrays.contiguous(arrays.permuted(call.weight, (0, 3, 4, 2, 1)))  # (S, 3, 3, Cin, Cout)
        self.weight = taps.reshape(taps.shape[0], 9 * self.inputs, self.outputs)

    def rows(self, x: arrays.Array) -> arrays.Array:
        """A map in the call's layout as (N, H, W, C)."""
        return x if self.call.rows else arrays.contiguous(arrays.permuted(x, (0, 2, 3, 1)))

    def stored(self, rows: arrays.Array) -> arrays.Array:
        """A map (N, H, W, C) in the call's layout."""
        return rows if self.call.rows else arrays.contiguous(arrays.permuted(rows, (0, 3, 1, 2)))

    def empty(self, shape: tuple[int, ...], dtype: str) -> arrays.Array:
        return arrays.empty(self.call.x, shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> arrays.Array:
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def arguments(self, tile: Tile) -> dict[str, Any]:
        """What every kernel is told of a tile."""
        call = self.call
        own = call.chosen if call.chosen is not None and tile.order is None else None
        given = {"order": tile.order, "own": own, "gate": call.gate, "scale": call.scale, "shift": call.shift}
        return {name: arrays.describe_optional(array) for name, array in given.items()} | {
            "first": tile.first, "count": tile.count, "branch": tile.branch, "dilations": call.dilations,
            "image": (self.height, self.width), "relu": call.relu,
        }  # fmt: skip

    def run(self, name: str, tile: Tile, **given: Any) -> None:
        """The kernel of that name and of the call's type."""
        described = {
            key: value if isinstance(value, bool | int) else arrays.describe_optional(value)
            for key, value in given.items()
        }
        getattr(self.module, f"gated_conv_{name}_{self.dtype}")(self.arguments(tile), described, self.stream)

    def columns(self, tile: Tile) -> arrays.Array:
        """(count, 9 Cin): what the taps of the tile's pixels read."""
        columns = self.empty((tile.count, 9 * self.inputs), self.dtype)
        self.module.gated_conv_gather(
            self.arguments(tile), arrays.describe(self.x), arrays.describe(columns), self.stream
        )
        return columns

    def sorted_pixels(self) -> tuple[arrays.Array, arrays.Array, list[int]]:
        """(order, where, starts): pixels by branch; the starts come to the host, which waits for the device here."""
        branches, n = len(self.call.dilations), self.pixels
        order, where = self.empty((n,), "int64"), self.empty((n,), "int64")
        starts, counts = self.empty((branches + 1,), "int64"), self.empty((branches, -(-n // CHUNK)), "int64")
        self.module.gated_conv_sort(
            *(arrays.describe(array) for array in (self.call.chosen, order, where, starts, counts)), self.stream
        )
        return order, where, [int(start) for start in arrays.fetched(starts)]

    def tiles(self) -> Iterator[Tile]:
        """Soft: every branch of a tile, tile by tile. Hard: a branch's tiles, or, tied, all pixels' at once."""
        step = max(1, TILE_BYTES // max(1, 9 * self.inputs * (8 if self.dtype == "float64" else 4)))
        tied, branches = self.call.weight.shape[0] == 1, len(self.call.dilations)
        if self.call.chosen is not None and not tied:
            order, where, starts = self.sorted_pixels()
            for k in range(branches):
                for first in range(starts[k], starts[k + 1], step):
                    yield Tile(order, where, first, min(step, starts[k + 1] - first), k, k, True, True)
            return
        passes = 1 if self.call.chosen is not None else branches
        for first in range(0, self.pixels, step):
            for k in range(passes):
                count = min(step, self.pixels - first)
                yield Tile(None, None, first, count, k, 0 if tied else k, k == 0, k == passes - 1)

    def read_by(self, tile: Tile) -> tuple[int, int]:
        """Pixels first .. last that the tile's taps may read."""
        if tile.order is not None:
            return 0, self.pixels
        reach = max(self.call.dilations) * (self.width + 1)
        return max(0, tile.first - reach), min(self.pixels, tile.first + tile.count + reach)


def forward(call: Call, module: Any) -> arrays.Array:
    """y of a checked call, in its layout."""
    work = Work(call, module)
    y = work.zeros((work.n, work.height, work.width, work.outputs), work.dtype)
    total = None
    for tile in work.tiles():
        if tile.begin:
            total = None if tile.end else work.empty((tile.count, work.outputs), work.wide)
        product = arrays.matmul(work.columns(tile), work.weight[tile.weights])
        work.run("combine", tile, product=product, begin=tile.begin, end=tile.end, total=total, y=y)
    return work.stored(y)


def backward(call: Call, module: Any, dy: arrays.Array, wanted: tuple[bool, bool, bool]) -> Gradients:
    """(dx, dweight, dgate) of a checked call, None for what is not wanted; dx in the call's layout."""
    work = Work(call, module)
    dy = work.rows(dy)
    dx = work.zeros((work.n, work.height, work.width, work.inputs), work.wide) if wanted[0] else None
    dweight = work.zeros(tuple(work.weight.shape), work.wide) if wanted[1] else None
    dgate = None if call.gate is None or not wanted[2] else work.zeros(tuple(call.gate.shape), work.wide)
    for tile in work.tiles():
        _add(work, tile, dy, dx, dweight, dgate)
    if dweight is not None:
        dweight = dweight.reshape(dweight.shape[0], 3, 3, work.inputs, work.outputs)
        dweight = arrays.cast(arrays.contiguous(arrays.permuted(dweight, (0, 4, 3, 1, 2))), work.dtype)
    return None if dx is None else arrays.cast(work.stored(dx), work.dtype), dweight, dgate


def _add(
    work: Work, tile: Tile, dy: arrays.Array, dx: arrays.Array | None, dweight: arrays.Array | None,
    dgate: arrays.Array | None,
) -> None:  # fmt: skip
    """Adds a tile's gradients; its columns and, for a ReLU, its products are made again."""
    weight = work.weight[tile.weights]
    columns = work.columns(tile)
    product = arrays.matmul(columns, weight) if work.call.relu else None
    u, gated = (work.empty((tile.count, work.outputs), work.dtype) for _ in range(2))
    shifted = work.empty((tile.count,), work.wide)
    work.run("gradient", tile, dy=dy, product=product, u=u, gated=gated, shifted=shifted)
    if dweight is not None:
        dweight[tile.weights] += arrays.matmul(arrays.permuted(columns, (1, 0)), gated)
    if dx is None and dgate is None:
        return
    dcolumns = arrays.contiguous(arrays.matmul(u, arrays.permuted(weight, (1, 0))))
    if dgate is not None:
        work.run("gate_gradient", tile, dcolumns=dcolumns, columns=columns, shifted=shifted, dgate=dgate)
    if dx is not None:
        first, last = work.read_by(tile)
        work.run("scatter", tile, where=tile.where, dcolumns=dcolumns, dx=dx, **{"from": first, "to": last})
