"""``python -m core``: the command line of core/cli.py."""

import sys

from core.cli import main

sys.exit(main())
