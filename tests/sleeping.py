"""A program that says that it lives, in the file that the variable SAID names, and then sleeps."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path


def cli(argv: Sequence[str]) -> int:
    """0 after a minute."""
    Path(os.environ["SAID"]).write_text("awake")
    time.sleep(60)
    return 0
