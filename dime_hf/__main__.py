"""`python -m dime_hf` is `dime-hf`."""

import sys

from dime_hf.cli import main

if __name__ == "__main__":
    sys.exit(main())
