"""PSSL work that logs who reads what. Apart from the tests: Ray's workers must import it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipelines.pssl_work import LabelPictures, Read
from pipelines.work import Clock


@dataclass(frozen=True)
class Logged(LabelPictures):
    """The real work; every picture read adds a line `pid id ppid` to TOY_LOG."""

    def read(self, picture_id: str, clock: Clock) -> Read:
        with open(os.environ["TOY_LOG"], "a") as log:
            log.write(f"{os.getpid()} {picture_id} {os.getppid()}\n")
        return super().read(picture_id, clock)
