"""The verb of sparse dictionaries: trained on a run, shown, compared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import (
    SEED,
    Answer,
    Verb,
    add_run,
    add_word,
    open_given,
    real,
    show_progress,
    stoppable,
    whole,
)
from core.foundation.errors import UnitscopeError
from core.foundation.plain import Json
from core.foundation.settings import CACHE

if TYPE_CHECKING:
    from core.models.dictionary import Dictionary


def add(verb: Verb) -> None:
    """dictionary train | show | stability."""
    top = verb(
        "dictionary",
        _which,
        "Sparse dictionaries of a layer, whose features are dissected as units.",
    )
    words = top.add_subparsers(metavar="train|show|stability")
    trained = add_word(
        words, "train", _train, "Train one on a run's maps, and measure it; resumes."
    )
    add_run(trained)
    trained.add_argument("--to", type=Path, required=True, metavar="FILE", help="file to write")
    trained.add_argument("--layer", metavar="NAME", help="of the run; its last if left out")
    number = whole(1, 2**20)
    trained.add_argument("--features", type=number, default=1024, metavar="N", help="1024")
    trained.add_argument("--k", type=number, default=16, help="active in a cell, at most; 16")
    trained.add_argument("--steps", type=number, default=2000, metavar="N", help="of Adam; 2000")
    trained.add_argument("--batch", type=number, default=512, metavar="N", help="cells a step; 512")
    trained.add_argument(
        "--rate", type=real(1e-9, 0.999), help="learning rate; 2e-4 · √(16384 / features)"
    )
    trained.add_argument("--seed", type=SEED, default=0)
    trained.add_argument("--learn-on", action="append", metavar="SPLIT", help="train if left out")
    trained.add_argument("--split", action="append", metavar="SPLIT", help="photos to measure on")
    trained.add_argument(
        "--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs"
    )
    shown = add_word(words, "show", _show, "What a dictionary is of, and how it was measured.")
    shown.add_argument("file", type=Path, help="as `dictionary train` wrote it")
    compared = add_word(
        words, "stability", _stability, "Do dictionaries of several seeds have the same features?"
    )
    compared.add_argument("file", type=Path, nargs="+", help="dictionaries of other seeds")


def _which(_given: argparse.Namespace) -> Answer:
    raise UnitscopeError("which? dictionary train, dictionary show or dictionary stability")


def _train(given: argparse.Namespace) -> Answer:
    from core.dictionary.make import make_dictionary
    from core.dictionary.train import Recipe
    from core.models.dictionary import write_dictionary

    recipe = Recipe(given.features, given.k, given.steps, given.batch, given.seed, given.rate)
    run = open_given(given)
    with stoppable() as stop:
        made = make_dictionary(
            run,
            given.layer,
            recipe,
            given.learn_on,
            given.split,
            progress=show_progress,
            stop=stop,
        )
    write_dictionary(made, given.to)
    return _said(given.to, made)


def _show(given: argparse.Namespace) -> Answer:
    from core.models.dictionary import read_dictionary

    return _said(given.file, read_dictionary(given.file))


def _said(path: Path, dictionary: Dictionary) -> Answer:
    origin = dictionary.origin
    facts: Json = {
        "file": str(path),
        "digest": dictionary.digest(),
        "features": dictionary.features,
        "live": int(dictionary.live.sum()),
        "units": dictionary.units,
        "k": dictionary.k,
        "network": origin.network,
        "layer": origin.layer,
        "spec": origin.spec,
        "run": origin.run,
        "dataset": origin.dataset,
        "training": dict(origin.training),
        "measured": dict(origin.measured),
        "model": f"dictionary:{path}@{origin.spec}" if origin.spec else None,
    }
    live = "not known" if dictionary.activity is None else f"{facts['live']:,}"
    lines = [
        f"{path}: {dictionary.features:,} features of {origin.layer} ({dictionary.units} units), "
        f"at most {dictionary.k} to a cell",
        f"network     {origin.spec or 'not named'}, digest {origin.network[:16]}",
        f"trained on  run {origin.run or '?'}, {origin.dataset or '?'}",
        f"live        {live} features active in a training cell",
        *_measured(origin.measured),
    ]
    if facts["model"]:
        lines.append(f"as a model  --model {facts['model']}")
    return facts, "\n".join(lines)


def _measured(measured: Any) -> list[str]:
    """Lines on what was measured; whatever a stranger's file has there that is none, is left
    out."""
    try:
        explained, active = measured["explained"], measured["active"]
        lines = [
            f"held out    {', '.join(map(str, measured['splits']))}: "
            f"{measured['photos']:,} photos, {measured['cells']:,} cells",
            f"            explains {_percent(*explained)} of the variance",
            f"            {active[0]:.2f} features to a cell; {measured['silent']:,} are in none",
        ]
        if "accuracy" not in measured:
            return [*lines, f"            accuracy not measured: {measured.get('accuracy_why')}"]
        right = measured["accuracy"]
        for name, words in (
            ("plain", "right, the network itself"),
            ("through", "right, through the dictionary"),
            ("empty", "right, with its bias alone"),
        ):
            one = right[name]
            figure = _percent(one["value"], one["low"], one["high"])
            lines.append(f"            {words:29} {figure}")
        change = right["change"]
        lines.append(
            f"            change {change['value']:+.1%} [{change['low']:+.1%}, "
            f"{change['high']:+.1%}]; the same answer for {right['same']['value']:.1%}"
        )
        return lines
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return []


def _percent(value: float, low: float, high: float) -> str:
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"


def _stability(given: argparse.Namespace) -> Answer:
    from core.dictionary.stability import SAME, stability
    from core.models.dictionary import read_dictionary

    names = [str(path) for path in given.file]
    frame = stability([read_dictionary(path) for path in given.file], names)
    lines = []
    for row in frame.to_dict("records"):
        lines += [
            f"{row['first']} ({row['features_first']:,} live) and {row['second']} "
            f"({row['features_second']:,})",
            f"  {'cosine':26} {'matched':>8} {'nearest':>8}   matched ≥ {SAME:g}",
        ]
        for prefix, words in (
            ("", "of the dictionaries"),
            ("alike_", "directions drawn alike"),
            ("random_", "random directions"),
        ):
            lines.append(
                f"  {words:26} {row[prefix + 'matched']:8.3f} {row[prefix + 'nearest']:8.3f}   "
                f"{row[prefix + 'same']:.1%}"
            )
    if len(frame) > 1:
        means = frame[["matched", "nearest", "same"]].mean()
        lines.append(
            f"mean of {len(frame)} pairs: matched {means['matched']:.3f}, nearest "
            f"{means['nearest']:.3f}, {means['same']:.1%} the same"
        )
    return {"pairs": frame.to_dict("records")}, "\n".join(lines)
