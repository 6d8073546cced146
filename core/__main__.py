"""``python -m core``: the command line of :mod:`core.cli`."""

import sys

try:
    from core.cli import main

    status = main()
except KeyboardInterrupt:
    # While packages are imported; later, the command line says it itself.
    print("error: stopped before anything was done", file=sys.stderr)
    status = 130
sys.exit(status)
