"""Entry point of `python -m cvae_utils`."""

import sys

from cvae_utils.cli import main

sys.exit(main())
