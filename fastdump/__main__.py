"""`python -m fastdump` is the command `fastdump`."""

import sys

from fastdump.cli import main

if __name__ == "__main__":
    sys.exit(main())
