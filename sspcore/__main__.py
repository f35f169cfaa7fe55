"""`python -m sspcore`: the command `sspcore`."""

import sys

from sspcore.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
