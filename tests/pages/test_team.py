"""A team's server: owners log in with an identity provider, a real one on this machine.

Needs Authlib and oidc-provider-mock (requirements-optional.txt has neither: the mode is one for
labs that bring a provider of their own); left out where they are missing.
"""

from __future__ import annotations

import json
import socket

import pytest

from core.runs.store import list_runs
from pages.parts import access
from tests.browsing import SERVE, Server, Visit
from tests.pages.test_access import WAIT, cache  # noqa: F401

pytest.importorskip("authlib", reason="the mode team needs Authlib")
provider = pytest.importorskip("oidc_provider_mock", reason="no identity provider to test with")

pytestmark = pytest.mark.browser


@pytest.fixture
def team(cache, tmp_path):  # noqa: F811
    """A server of a team with one owner, and the provider that knows two people."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    users = [
        provider.User(sub=name, claims={"email": f"{name}@example.org", "email_verified": True})
        for name in ("ada", "eve")
    ]
    with provider.run_server_in_thread(user_claims=users) as known:
        at = f"http://localhost:{known.server_port}"
        secrets = tmp_path / "secrets.toml"
        secrets.write_text(
            f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\n'
            'cookie_secret = "made for one test, and long enough for it"\nclient_id = "unitscope"\n'
            'client_secret = "also made for one test"\n'
            f'server_metadata_url = "{at}/.well-known/openid-configuration"\n'
        )
        server = Server(
            cache,
            *SERVE,
            "--mode",
            "team",
            "--owners",
            "Ada@example.org",
            "--secrets.files",
            str(secrets),
            "--server.address",
            "127.0.0.1",
            port=port,
        )
        yield server
        server.stop()


def log_in(visit: Visit, name: str) -> None:
    page = visit.page
    page.get_by_role("button", name="Log in").click()
    page.locator('input[name="sub"]').fill(name)
    page.get_by_role("button", name="Authorize", exact=True).click()
    page.wait_for_url(f"http://{visit.server.host}/**", timeout=WAIT)
    visit.settle()


def test_owners_of_a_team_change_things_after_they_have_logged_in(browser, team, cache):  # noqa: F811
    assert not team.token
    visit = Visit(browser, team)
    page = visit.page
    visit.open("Runs")
    assert page.get_by_role("button", name="Delete this run").count() == 0
    log_in(visit, "eve")
    visit.open("Runs")
    page.get_by_text("eve@example.org. You may look, not change.").wait_for()
    assert page.get_by_role("button", name="Delete this run").count() == 0
    page.close()

    visit = Visit(browser, team)
    page = visit.page
    visit.open("Runs")
    log_in(visit, "ada")
    visit.open("Runs")
    page.get_by_text("ada@example.org. You may change things.").wait_for()
    page.get_by_role("button", name="Delete this run…").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("None yet.").wait_for(timeout=WAIT)
    assert not list_runs(cache)
    assert [json.loads(line)["who"] for line in (cache / access.LOG).open()] == ["ada@example.org"]
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/oauth2/end_session**", timeout=WAIT)
    page.close()
