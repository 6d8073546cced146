"""`python -m pages.parts.serve [options]`: the app behind its door, with its imports done.

Who may change what is said here once for the server (:mod:`pages.parts.access`); plain
``streamlit run app.py`` shows the same pages behind the same door, read-only, and imports for
a second or two while the first visitor waits. What pages draw with is imported here before the
server listens; PyTorch and the compiled kernels, which only some of them need, once nobody is being
served.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode

import streamlit as st
from click import ClickException
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from streamlit import config as streamlit_config

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import expanded
from core.foundation.names import whole
from core.foundation.settings import Configuration, Limits, configuration
from core.foundation.trust import allow_python
from pages.parts import access

if TYPE_CHECKING:
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ("localhost", "127.0.0.1", "::1")

LIGHT = (
    "core.views.findings",
    "core.views.pictures",
    "core.views.labels",
    "core.views.unit_map",
    "core.views.knowledge",
    "core.views.fusion",
    "core.views.explain",
    "core.views.compare",
    "core.views.retrain",
    "core.views.work",
    "core.figures.runs",
    "core.figures.unit_map",
    "core.figures.concepts",
    "core.figures.report",
    "pages.parts.draw",
)
HEAVY = (
    "core.views.disable",
    "core.dissect.formulas",
    "core.ablation.toggler",
)


def ready(modules: tuple[str, ...]) -> None:
    """Import, and tell the collector of garbage that these are here to stay: Streamlit calls it
    after every redraw, and it would look through all of them each time."""
    for name in modules:
        import_module(name)
    # Streamlit does so at its first element, which looks up the files of all modules.
    inspect.stack()
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


# -- the door ---------------------------------------------------------------------------------


class Door:
    """What every request passes before Streamlit sees it.

    ``?token=`` of any page becomes a cookie that scripts cannot read, and leaves the address;
    the server's metrics are for whoever holds the token; uploads are counted.
    """

    def __init__(self, app: Any, most: Limits):
        self.app, self.most = app, most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = self._answer(scope) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    def _answer(self, scope: Any) -> Response | None:
        path = scope["path"]
        port = st.get_option("server.port")
        if path.endswith("/_stcore/metrics"):
            if not access.token_in(Headers(scope=scope).get("cookie", ""), port):
                return PlainTextResponse("Not found", 404)
        elif "/_stcore/upload_file/" in path and scope["method"] == "PUT":
            headers = Headers(scope=scope)
            own = access.token_in(headers.get("cookie", ""), port)
            return self._upload(path, headers.get("content-length", ""), own)
        elif scope["method"] == "GET" and b"token=" in scope["query_string"]:
            return self._enter(scope, port)
        return None

    def _enter(self, scope: Any, port: object) -> Response | None:
        """Give the cookie to whoever brings the token, and send them on without it."""
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = dict(asked).get("token")
        if token is None:
            return None
        if not access.is_token(token):
            return PlainTextResponse(
                "This is not the token of this server. It makes a new one at each start, and "
                "prints it there, if it has one at all.",
                403,
            )
        rest = urlencode([(name, value) for name, value in asked if name != "token"])
        # Two slashes would begin the name of another host.
        there = "/" + scope["path"].lstrip("/\\") + (f"?{rest}" if rest else "")
        answer = RedirectResponse(there, 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            access.cookie_name(port),
            token,
            httponly=True,
            samesite="strict",
            secure=scope["scheme"] == "https",
        )
        return answer

    def _upload(self, path: str, length: str, own: bool) -> Response | None:
        """Refuse a file that is too large, or of no told size, and any where the visitor, or all of
        them together, hold too much by now. own : whoever holds the token may drop in a data set
        (of a team's visitors, the door does not know who is an owner)."""
        result, largest = whole(length), max(self.most.photo_mb, self.most.names_mb)
        if own:
            largest = max(largest, self.most.drop_mb)
        if result is None or result > (largest + 1) * 1_000_000:  # with what the form adds
            return PlainTextResponse(f"A file may have {largest:g} MB", 413)
        from streamlit.runtime import get_instance

        manager = cast("MemoryUploadedFileManager", get_instance().uploaded_file_mgr)
        held = manager.file_storage
        session = path.rpartition("/_stcore/upload_file/")[2].partition("/")[0]
        size = sum(len(file.data) for files in list(held.values()) for file in files.values())
        if len(held.get(session, ())) >= (self.most.drop_files if own else self.most.uploads):
            return PlainTextResponse("Too many files at once: reload the page", 429)
        if size > self.most.uploads_mb * 1_000_000:
            return PlainTextResponse("The server holds too many uploaded files: try later", 429)
        return None


def doors(most: Limits | None = None) -> list[Middleware]:
    """What stands before the app, however it is started. most : as configured where None."""
    return [Middleware(Door, most=most or configuration().limits)]


# -- the start --------------------------------------------------------------------------------


def _options(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        allow_abbrev=False,
        description="Serve the app. Options of `streamlit run`, such as --server.port, may follow; "
        "what is not given here is read from .streamlit/unitscope.toml (docs/serving.md).",
    )
    parser.add_argument(
        "--mode",
        choices=access.MODES,
        help="who may change things; owner where only this machine can reach the server, read-only "
        "elsewhere",
    )
    parser.add_argument(
        "--owners", nargs="+", metavar="EMAIL", help="of the mode team: who may change things"
    )
    parser.add_argument(
        "--roots",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders below which the photos, networks and tables lie that a form may name; "
        "without it any in the mode owner, and none in a team",
    )
    parser.add_argument(
        "--allow-python",
        action="store_true",
        default=None,
        help="let run files and forms name code to import (python:…)",
    )
    return parser


def _streamlit_options(arguments: Sequence[str]) -> dict[str, object]:
    """Options of ``streamlit run`` with their values, as its own command line reads them.

    Raises UnitscopeError for one it has not.
    """
    from streamlit.web.cli import main_run  # takes a while, and only the start needs it

    try:
        found = main_run.make_context("streamlit run", ["app.py", *arguments]).params
    except ClickException as err:
        raise UnitscopeError(
            f"{err.format_message()} `--help` and `streamlit run --help` list what there is"
        ) from err
    if found["args"]:
        raise UnitscopeError(f"{found['args'][0]!r} belongs to no option")
    own = {name: value for name, value in found.items() if name not in ("target", "args")}
    return {k.replace("_", ".", 1): v for k, v in own.items() if v is not None and v != ()}


def settled(given: argparse.Namespace, said: Configuration, address: str) -> access.Serving:
    """How the server serves: by the command line, else the configuration file, else by whether
    only this machine can reach it (`address`).

    Raises UnitscopeError for a mode there is not, or one that lacks what it needs.
    """
    mode = given.mode or said.mode or ("owner" if address in LOCAL else "read-only")
    if mode not in access.MODES:
        raise unknown("mode", mode, access.MODES)
    owners = frozenset(str(one).lower() for one in given.owners or said.owners)
    listed = given.roots if given.roots is not None else said.roots
    if owners and mode != "team":
        raise UnitscopeError(f"owners are of the mode team, and this is {mode}")
    if mode == "team" and not owners:
        raise UnitscopeError(
            'a team has owners: --owners ada@example.org, or owners = ["ada@example.org"] in '
            ".streamlit/unitscope.toml"
        )
    roots = (
        None
        if listed is None and mode == "owner"
        else tuple(expanded(one).resolve() for one in listed or ())
    )
    for root in roots or ():
        if not root.is_dir():
            raise UnitscopeError(f"--roots: there is no folder {root}")
    token = access.new_token() if mode == "owner" else ""
    return access.Serving(mode, token, owners, roots)


def _check_login() -> None:
    """Raises UnitscopeError where Streamlit's login is not set up."""
    from streamlit.auth_util import get_secrets_auth_section

    if not find_spec("authlib"):
        raise UnitscopeError("the mode team needs Authlib: pip install 'streamlit[auth]'")
    if not get_secrets_auth_section():
        raise UnitscopeError(
            "the mode team needs the identity provider in .streamlit/secrets.toml, as [auth]: see "
            "docs/serving.md"
        )


@asynccontextmanager
async def _announced(_app: Any) -> AsyncIterator[None]:
    """Print where the app is, once the port is known."""
    address, port = st.get_option("server.address") or "localhost", st.get_option("server.port")
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    base = st.get_option("server.baseUrlPath").strip("/")
    serving = access.serving()
    host = f"[{address}]" if ":" in address else address
    where = f"{scheme}://{host}:{port}/{base}"
    if serving.token:
        where += f"?token={serving.token}"
        result = "\n  Whoever has this address may start and delete runs here.\n"
    else:
        result = f"\n  Mode: {serving.mode}.\n"
    print(f"\n  Unitscope is at\n\n    {where}\n{result}", flush=True)
    yield


def main(arguments: Sequence[str] | None = None, prog: str = "python -m pages.parts.serve") -> int:
    """Serve the app; returns 2 where it was asked for in a way that cannot be.

    prog : the command's own name, for its help.
    """
    from streamlit.web.bootstrap import load_config_options

    given, rest = _options(prog).parse_known_args(arguments)
    # The address and the look are those of this checkout's .streamlit/config.toml, wherever the
    # command is given. `run` below does the same, after the address has been judged.
    streamlit_config._main_script_path = str(ROOT / "app.py")
    try:
        options = _streamlit_options(rest)
        said = configuration()
        most = said.limits
        usual = {
            "logger.hideWelcomeMessage": True,
            "server.maxUploadSize": max(most.photo_mb, most.names_mb, most.drop_mb),
        }
        # Read now as `run` below reads them, for the address.
        load_config_options(usual | options)
        serving = settled(given, said, st.get_option("server.address"))
        if serving.mode == "team":
            _check_login()
    except UnitscopeError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    if given.allow_python or said.allow_python:
        allow_python()
    access.serve_as(serving)
    ready(LIGHT)
    threading.Thread(target=_later, daemon=True, name="imports").start()
    app = st.App(ROOT / "app.py", middleware=doors(most), lifespan=_announced)
    # Streamlit looks for its files, and for pages, beside this one.
    sys.argv = [str(ROOT / "app.py")]
    app.run(config=usual | options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
