"""The verb that measures, by the scripts under benchmarks/."""

from __future__ import annotations

import argparse
from importlib import import_module

from core.cli.common import (
    COUNT,
    Answer,
    Verb,
)

BENCHES = (
    "limits",
    "dissect",
    "formulas",
    "toggle",
    "app",
    "datasets",
    "models",
    "intervals",
    "engine",
    "growth",
    "precision",
)
"""Modules of benchmarks/ with a ``measure`` that takes the options below by name."""


def add(verb: Verb) -> None:
    """bench."""
    bench = verb(
        "bench", _bench, "Measure speed, side by side in one run, and how far intervals hold."
    )
    bench.add_argument(
        "name",
        nargs="?",
        choices=BENCHES,
        default="limits",
        help="what is measured; without it each part beside the limit of this machine",
    )
    bench.add_argument(
        "--dataset", metavar="SPEC", help="see `datasets`; each benchmark has its own default"
    )
    bench.add_argument(
        "--model", metavar="SPEC", help="see `models`; each benchmark has its own default"
    )
    bench.add_argument("--images", type=COUNT, help="how many; each benchmark has its own default")


def _bench(given: argparse.Namespace) -> Answer:
    asked = {name: getattr(given, name) for name in ("dataset", "model", "images")}
    module = import_module(f"benchmarks.{given.name}")
    result: Answer = module.measure(**{k: v for k, v in asked.items() if v is not None})
    return result
