"""`python -m pages.parts.serve [options of streamlit run]`: the app with its imports done.

Plain ``streamlit run app.py`` does the same work, but imports for a second or two while the
first visitor waits. What pages draw with is imported here before the server listens; PyTorch and
the compiled kernels, which only some of them need, once nobody is being served.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LIGHT = ("core.browse", "core.browse.knowledge", "core.browse.fusion", "core.browse.explain",
         "core.browse.compare", "core.browse.retrain", "core.browse.start", "core.figures",
         "core.figures.concepts", "core.report", "pages.parts.draw")  # fmt: skip
HEAVY = ("core.browse.units", "core.browse.disable", "core.dissect.formulas",
         "core.manipulate.toggle")  # fmt: skip


def ready(modules: tuple[str, ...]) -> None:
    """Import, and tell the collector of garbage that these are here to stay: Streamlit calls it
    after every redraw, and it would look through all of them each time."""
    for name in modules:
        import_module(name)
    gc.collect()
    gc.freeze()


def when_idle(seconds: float = 1.5) -> None:
    """Return once this process has done next to nothing for so long."""
    while True:
        before = time.process_time()
        time.sleep(seconds)
        if time.process_time() - before < 0.04 * seconds:
            return


def _later() -> None:
    when_idle()
    ready(HEAVY)


def main() -> None:
    """Serve the app; the arguments are those of ``streamlit run``."""
    from streamlit.web.cli import main as streamlit

    ready(LIGHT)
    threading.Thread(target=_later, daemon=True, name="imports").start()
    sys.argv = ["streamlit", "run", str(ROOT / "app.py"), *sys.argv[1:]]
    streamlit()


if __name__ == "__main__":
    main()
