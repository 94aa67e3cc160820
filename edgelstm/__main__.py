"""`python -m edgelstm` is the command line."""

import sys

from edgelstm.cli import main

if __name__ == "__main__":
    sys.exit(main())
