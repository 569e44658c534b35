"""`python -m verification`: hold methods to exact answers. See `--help`."""

from __future__ import annotations

import sys

from verification.command import main

if __name__ == "__main__":
    sys.exit(main())
