"""`python -m srcx ...` is `srcx ...`."""

import sys

from srcx.cli import main

if __name__ == "__main__":
    sys.exit(main())
