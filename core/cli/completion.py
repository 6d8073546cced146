"""The verb that prints what a shell completes words by."""

from __future__ import annotations

import argparse

from core.cli.common import Answer, Verb
from core.foundation.optional import optional

SHELLS = ("bash", "zsh", "tcsh")


def add(verb: Verb) -> None:
    """completion."""
    sub = verb("completion", _completion, "Print a script by which a shell completes the verbs.")
    sub.add_argument("shell", choices=SHELLS, help="whose script")


def _completion(given: argparse.Namespace) -> Answer:
    """By the package shtab, of the installed command ``unitscope``."""
    from core.cli import parser

    shtab = optional("shtab", "completion of words in a shell")
    script: str = shtab.complete(parser("unitscope"), shell=given.shell)
    return {"shell": given.shell, "script": script}, script
