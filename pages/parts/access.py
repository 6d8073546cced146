"""Who may change what: the server's mode, the visitor's standing, the log of changes.

``owner``
    A token is made at each start and printed within the address. Whoever opens that address may
    change things; everybody else sees what a read-only server shows.
``read-only``
    Nobody may, by whatever way. What a server is that was told nothing else.
``team``
    Visitors log in with the team's identity provider (Streamlit's own OIDC login); those whose
    e-mail is on the list of owners may change things.

What changes something is in :mod:`pages.parts.changes` and calls :func:`require_owner` itself:
that a page hides a button is a courtesy, not the lock.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

import streamlit as st

from core.foundation.errors import UnitscopeError
from core.foundation.files import strict_json
from core.foundation.roots import runs_read_below
from core.views import dropped
from core.views.runs import cache_root

MODES = ("owner", "read-only", "team")
LOG = "changes.log"
"""Beside the runs; one JSON object a line: time (UTC), who, what, and what of."""


@dataclass(frozen=True)
class Serving:
    """How this server was started.

    Attributes
    ----------
    token : of the mode ``owner``.
    owners : e-mail addresses of the mode ``team``, in lower case.
    roots : folders below which the files lie that a form may name, and the photos of runs, which
        are read again; None for no bound.
    """

    mode: str = "read-only"
    token: str = ""
    owners: frozenset[str] = frozenset()
    roots: tuple[Path, ...] | None = None


_now = [Serving()]


def serve_as(serving: Serving) -> None:
    """Say how this process serves. Plain ``streamlit run app.py`` says nothing: read-only."""
    _now[0] = serving
    runs_read_below(readable_roots() if serving.roots else None)


def readable_roots() -> tuple[Path, ...] | None:
    """Folders below which a form may name files: the server's roots, and what was dropped into the
    app; None for any."""
    roots = serving().roots
    return None if roots is None else (*roots, dropped.place(cache_root()).resolve())


def serving() -> Serving:
    """How this process serves."""
    return _now[0]


def new_token() -> str:
    """A token for one start of a server."""
    return secrets.token_urlsafe(32)


# -- the visitor ------------------------------------------------------------------------------


def cookie_name(port: object) -> str:
    """The cookie that holds the token: browsers give one machine's cookies to all its ports."""
    return f"unitscope-{port}"


def is_token(given: str) -> bool:
    """Whether this is the token of this server."""
    token = serving().token
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def token_in(header: str, port: object) -> bool:
    """Whether a Cookie header brings the token."""
    try:
        found = SimpleCookie(header).get(cookie_name(port))
    except CookieError:
        return False
    return found is not None and is_token(found.value)


def who() -> str:
    """The owner that this session's visitor is: an e-mail address, or ``owner`` by the token;
    empty for anybody else."""
    now = serving()
    if now.mode == "owner":
        brought = st.context.cookies.get(cookie_name(st.get_option("server.port")), "")
        return "owner" if is_token(str(brought)) else ""
    if now.mode == "team":
        return team_owner(st.user.to_dict(), now.owners)
    return ""


def team_owner(user: Mapping[str, object], owners: frozenset[str]) -> str:
    """The e-mail address of a user who logged in and is an owner; empty for anybody else.

    user : the claims that the identity provider signed, as ``st.user`` has them. An address that
    it says nobody has verified is nobody's.

    >>> owners = frozenset({"ada@example.org"})
    >>> team_owner({"is_logged_in": True, "email": "Ada@example.org"}, owners)
    'ada@example.org'
    >>> team_owner({"is_logged_in": True, "email": "eve@example.org"}, owners)
    ''
    """
    email = str(user.get("email") or "").lower()
    verified = str(user.get("email_verified", True)).lower() == "true"
    return email if user.get("is_logged_in") is True and verified and email in owners else ""


def may_change() -> bool:
    """Whether this session's visitor may start, stop, delete and keep things."""
    return bool(who())


def why_not() -> str:
    """What a visitor needs who may not change things: a sentence, without a full stop."""
    return {
        "owner": "only whoever started this server may: open the address that it printed, with "
        "its token",
        "team": "only its owners may, after they have logged in",
        "read-only": "this server is read-only; one that listens to this machine alone, started "
        "by `make run`, prints an address that may",
    }[serving().mode]


def require_owner(what: str, **of: Any) -> None:
    """Let an owner pass and write down what is changed; the gate of everything that changes.

    what : in a word or two, such as ``delete run``. of : what of, as plain data.

    Raises UnitscopeError for anybody else, before anything is done or written.
    """
    name = who()
    if not name:
        raise UnitscopeError(f"{what}: {why_not()}")
    said = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "who": name,
        "what": what,
        **of,
    }
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOG).open("a", encoding="utf-8") as f:
        # One write of one line: those of several servers do not mix.
        f.write(strict_json(json.loads(json.dumps(said, default=str))) + "\n")


def badge() -> None:
    """In the sidebar: what the visitor may do, and in a team the way in and out."""
    now = serving()
    name = who()
    if now.mode == "team":
        if st.user.is_logged_in:
            result = "You may change things." if name else "You may look, not change."
            st.caption(f"{st.user.get('email', 'Logged in')}. {result}")
            st.button("Log out", type="tertiary", on_click=st.logout, icon=":material/logout:")
        else:
            st.button("Log in", type="tertiary", on_click=st.login, icon=":material/login:")
    elif not name:
        st.caption(":material/lock: Read-only.", help=f"To change things: {why_not()}.")
