"""`python -m unclip`, and `accelerate launch -m unclip`."""

import sys

from unclip.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
