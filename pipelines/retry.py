"""Trying again what failed for a moment: which errors pass by themselves, and how long to wait for them."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRIES = 5
FIRST_S, LONGEST_S = 0.1, 5.0  # waits double from the first to the longest, each times 0.5 to 1.5

PASSING = frozenset(
    getattr(errno, name)
    for name in (
        "EAGAIN", "EBUSY", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "EINTR", "EIO",
        "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENOBUFS", "EPIPE", "EREMOTEIO", "ESTALE", "ETIMEDOUT",
    )
    if hasattr(errno, name)
)  # fmt: skip
# Errors of network libraries that are no OSError, known by name: no worker imports these libraries for nothing.
PASSING_NAMES = frozenset(
    {
        "ClientConnectionError", "ClientPayloadError", "ConnectionClosedError", "ConnectTimeoutError",
        "EndpointConnectionError", "FSTimeoutError", "HTTPClientError", "IncompleteReadError", "ReadTimeoutError",
        "ResponseStreamingError", "ServerDisconnectedError",
    }
)  # fmt: skip


def passing(error: BaseException | None) -> BaseException | None:
    """The error in the chain of causes of `error` that may be gone at the next try, or None.

    Passing: time-outs, broken connections, EIO and its kin. A missing file, a forbidden or a full place stay so.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno is not None:
            return error if error.errno in PASSING else None
        if isinstance(error, TimeoutError | ConnectionError):
            return error
        if any(kind.__name__ in PASSING_NAMES for kind in type(error).__mro__):
            return error
        error = error.__cause__ or error.__context__
    return None


def waits(seed: str, tries: int = TRIES) -> list[float]:
    """Seconds to wait after each failed try but the last: doubling, and apart for different seeds (jitter)."""
    spread = random.Random(seed)
    return [min(FIRST_S * 2**i, LONGEST_S) * spread.uniform(0.5, 1.5) for i in range(tries - 1)]


def persistently(call: Callable[[], T], seed: str, again: Callable[[], None] = lambda: None, tries: int = TRIES) -> T:
    """What `call` returns, tried again after errors that pass by themselves; the last error when it never succeeds.

    seed: who waits, for the jitter. again: called before each further try.
    """
    for number in range(tries - 1):
        try:
            return call()
        except Exception as error:
            if passing(error) is None:
                raise
        again()
        time.sleep(waits(seed, tries)[number])
    return call()
