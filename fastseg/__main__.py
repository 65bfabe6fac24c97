"""`python -m fastseg VERB`: the same table as the console script `fastseg`."""

from __future__ import annotations

from fastseg.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
