"""The names of torch's types for annotations in modules that must not load torch.

jsonargparse runs the `if TYPE_CHECKING:` block of every module that holds a configuration, which would load torch for
`--help`; importing the names from here does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
else:
    Tensor = Module = Any

__all__ = ["Module", "Tensor"]
