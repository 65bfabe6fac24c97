"""PSSL work that logs who reads what. Apart from the tests: Ray's workers must import it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipelines.pssl_work import LabelPictures, Read
from pipelines.work import Clock


@dataclass(frozen=True)
class Logged(LabelPictures):
    """The real work; every picture that was read adds a line `pid id ppid` to TOY_LOG.

    Not before: who is killed while it loads its networks has not begun, and would be killed again and again.
    """

    def read(self, picture_id: str, clock: Clock) -> Read:
        try:
            return super().read(picture_id, clock)
        finally:
            with open(os.environ["TOY_LOG"], "a") as log:
                log.write(f"{os.getpid()} {picture_id} {os.getppid()}\n")
