"""The command ``unitscope``: the verbs of ``python -m core``, and ``unitscope app``, the app.

``pip install -e .`` makes it (pyproject.toml). It stands beside ``core`` and ``pages`` because it
is the one thing that starts both: core never imports pages.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

APP = "unitscope app [OPTIONS] serves the app; unitscope app --help lists its options."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb or serve the app; returns the exit status of :func:`core.cli.main`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["app"]:
            from pages.parts import serve

            return serve.main(given[1:], prog="unitscope app")
        from core import cli

        return cli.main(given, prog="unitscope", epilog=APP)
    except KeyboardInterrupt:
        # While packages are imported; later, the command line says it itself.
        print("error: stopped before anything was done", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
