"""How an op that hands addresses to C++ lives beside torch.compile."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def outside_graphs(op: Callable[P, R]) -> Callable[P, R]:
    """A label op: `op`, which torch.compile leaves as one graph break and runs eagerly, for it hands addresses to C++.

    Its results never require grad; autocast leaves it alone, since it takes the dtypes it names and no others; unless
    it says so it neither waits for the GPU nor allocates by itself, so a CUDA graph captures it after a first call.
    """

    @functools.wraps(op)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        torch = sys.modules.get("torch")
        if torch is None or not torch.compiler.is_compiling():
            return op(*arguments, **options)
        eager: Callable[P, R] = torch.compiler.disable(op)
        return eager(*arguments, **options)

    return call
