"""A peer that works on one frame at a time, given several threads: its calls spread over Python threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any


class Spread:
    """`spread(make, items)` is [make()(item) for item in items] over `count` threads that live as long as it does.

    Every thread makes its own callable, once for each `make`: a library's object is seldom safe to share.
    """

    def __init__(self, count: int) -> None:
        self.pool = ThreadPoolExecutor(count)
        self.own = threading.local()
        self.count = count

    def __enter__(self) -> Spread:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.pool.shutdown()

    def __call__(self, make: Callable[[], Callable[[Any], object]], items: Sequence[Any]) -> list[object]:
        if self.count == 1:
            return [self._one(make, item) for item in items]
        return list(self.pool.map(lambda item: self._one(make, item), items))

    def _one(self, make: Callable[[], Callable[[Any], object]], item: Any) -> object:
        made: dict[Any, Callable[[Any], object]] = self.own.__dict__
        if make not in made:
            made[make] = make()
        return made[make](item)
