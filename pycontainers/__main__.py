"""`python -m pycontainers`: the command line."""

import sys

from pycontainers.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
