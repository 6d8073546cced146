"""Settings of runs and re-trainings, and limits of a server: plain data that needs no PyTorch."""

from __future__ import annotations

import os
import shlex
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.foundation.errors import BadFile, UnitscopeError, unknown
from core.foundation.plain import Json
from core.foundation.vocabulary import JUDGING, Core, Eq2, Golden, Over, Protocol, Sign, Strategy

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: `data/` and `cache/` lie in it."""

CACHE = ROOT / "cache"
"""Where runs and what is worked out from them are kept unless --out says otherwise."""


@dataclass(frozen=True)
class Settings:
    """All that decides the numbers of a run.

    Attributes
    ----------
    dataset, model : their SPECs.
    layers : dotted names; empty = the network's default layer.
    splits : splits of the dataset to dissect; empty = all images.
    q : T_t is the (1 − q) quantile of unit t's activations.
    grid : side of the working grid in pixels; None = half the input's side.
    shuffles : rounds of exchanged masks for the null distributions of the units.
    seed : of the exchanges, and of the untrained twin's weights.
    untrained : dissect the untrained twin of the network too; None = where it is cheap
        (:data:`core.dissect.plan.TWIN_PAIRS`).
    keep_maps : keep activation maps beside the run; otherwise the network runs twice.
    map_type : float16 or float32, the type in which activations are recorded; "auto" takes
        float16 unless that would move the logits of a replay by more than is promised.
    device, precision : where and how the network runs.
    classes : the network's outputs are classes; otherwise it is dissected without any, and no
        answer of it is recorded. Networks without a classifier are known as such by themselves.
    scenes : a table that says which class a scene is, where names alone do not tell; see
        :mod:`core.datasets.scenes`. What it says is part of the digest, not where it lies.
    knowledge : the graph that explanations of this run use by default. It changes
        no number of the run, and is not part of its digest.
    """

    dataset: str
    model: str
    layers: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    q: float = 0.005
    grid: int | None = None
    shuffles: int = 500
    seed: int = 0
    untrained: bool | None = None
    keep_maps: bool = True
    map_type: str = "auto"
    device: str = "cpu"
    precision: str = "float32"
    classes: bool = True
    scenes: str | None = None
    knowledge: str = "builtin"


FLAGS = {"layers": "layer", "splits": "split", "keep_maps": "no-maps", "classes": "no-classes"}
"""Settings whose options on the command line have other names; a bool's option turns it off."""


def command(request: Mapping[str, Any]) -> str:
    """The command line that asks for the settings in `request` (a dict of :class:`Settings`).

    Only what differs from the defaults is named.

    >>> command({"dataset": "rooms", "model": "rooms", "q": 0.01, "keep_maps": False})
    'python -m core run --dataset rooms --model rooms --q 0.01 --no-maps'
    """
    parts = ["python", "-m", "core", "run"]
    for option in fields(Settings):
        value = request.get(option.name, option.default)
        flag = "--" + FLAGS.get(option.name, option.name)
        if option.name == "untrained":
            parts += {None: [], True: ["--untrained"], False: ["--no-untrained"]}[value]
        elif isinstance(option.default, bool):
            parts += [] if value else [flag]
        elif isinstance(value, (list, tuple)):
            parts += [part for item in value for part in (flag, str(item))]
        elif value != option.default:
            parts += [flag.replace("_", "-"), str(value)]
    return shlex.join(parts)


EMBEDDED: Mapping[str, str | list[str]] = {
    "dataset": "rooms",
    "model": "rooms",
    "layers": ["layer3", "layer4"],
}
"""The request of the embedded run, which `make run` makes and the app offers: two layers, so that
there are layers to compare."""


def quantile_words(q: float) -> str:
    """The quantile (1 − q) to the last digit that q was written with.

    >>> quantile_words(0.005), quantile_words(1e-6), quantile_words(0.5)
    ('99.5%', '99.9999%', '50%')
    """
    return f"{(1 - Decimal(repr(float(q)))) * 100:f}".rstrip("0").rstrip(".") + "%"


@dataclass(frozen=True)
class Retraining:
    """All that decides the numbers of a re-training via core concepts (Eq. 10).

    Attributes
    ----------
    dataset, model : SPECs; training starts from the model's weights.
    cc : kinds of golden concepts, of :data:`GOLDEN`.
    weights : the values of λ tried with each; the control (λ = 0) is always trained beside them.
    form : ``softmax`` (Eq. 10 as written) or ``sigmoid`` (each concept a yes or no).
    seeds : how often everything is trained, with other batches and another concept head.
    epochs, batch, rate, decay : the budget; AdamW, one half cosine after a short warm-up.
    patience : epochs without a better validation accuracy after which training ends.
    side : shorter side of the network's input in pixels; its own where None.
    since : dotted name of the first layer that is trained; those listed before it keep their
        weights and their batch statistics. All are trained where None.
    train, test : splits; `hold_out` of the train split is kept for validation.
    core_on : images whose annotations core concepts are made from: ``train``, or ``all``, which
        lets the test photos' annotations in.
    knowledge, overrides : the graph, and the user's own alignment with it.
    head : ``own`` classifier, or a ``new`` one for the dataset's scenes; ``auto`` takes the own
        one where it has a class for every scene of the train split.
    seed : the first seed, and that of the validation part.
    threads : of PyTorch; sums come out in another order with another number.
    """

    dataset: str
    model: str
    cc: tuple[str, ...] = ("scc", "icc")
    weights: tuple[float, ...] = (0.1, 0.3, 1.0)
    form: str = "softmax"
    seeds: int = 3
    epochs: int = 8
    batch: int = 32
    rate: float = 3e-4
    decay: float = 0.01
    patience: int = 4
    side: int | None = None
    since: str | None = None
    train: str = "train"
    test: str = "test"
    hold_out: float = 0.2
    core_on: str = "train"
    knowledge: str = "builtin"
    overrides: str | None = None
    head: str = "auto"
    seed: int = 0
    threads: int = 1

    def command(self) -> str:
        """The command line that asks for this; only what differs from the defaults is named.

        >>> Retraining("rooms", "rooms", weights=(1.0,)).command()
        'python -m core retrain cc --dataset rooms --model rooms --lambda 1.0'
        """
        parts = ["python", "-m", "core", "retrain", "cc"]
        for option in fields(self):
            value = getattr(self, option.name)
            if value == option.default:
                continue
            flag = {"weights": "lambda"}.get(option.name, option.name.replace("_", "-"))
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            parts += [f"--{flag}", text]
        return shlex.join(parts)


GOLDEN = {term.value: term.meaning for term in Golden}
"""What c* of Eq. 10 may be, with what it means; the last two are controls of the knowledge."""


# -- units of a scene, and where they are judged ---------------------------------------------


@dataclass(frozen=True)
class Choosing:
    """How units are chosen by their contribution score (Eq. 9), and how many.

    :data:`CHOOSING` holds the defaults of pages, verbs and functions alike: who asks each of them
    the same gets the same answer.

    Attributes
    ----------
    core : kind of core concepts. sign : the lowest scores (negative units) or the highest.
    k : units. strategy, iou : which concepts a unit learned of a photo (Eq. 2).
    over : which predictions are summed over. protocol : of Figs. 3 and 4.
    """

    core: Core = Core.ICC
    sign: Sign = Sign.NEGATIVE
    k: int = 20
    strategy: Strategy = Strategy.MINMAX_THRESHOLD
    iou: Eq2 = Eq2.IMAGE
    over: Over = Over.TRUE
    protocol: Protocol = Protocol.PAPER


CHOOSING = Choosing()

ALL_PHOTOS = "all"
"""Written in place of splits: the photos of all of them."""


def judged_on(splits: Sequence[str], asked: Sequence[str] | None = None) -> list[str]:
    """The splits that an edit is judged on; none = all photos.

    splits : those of the run. asked : the user's own, :data:`ALL_PHOTOS` for all; where nothing is
    asked, the first of :data:`core.foundation.vocabulary.JUDGING`.

    >>> judged_on(["test", "train", "val"]), judged_on(["a", "b"]), judged_on(["test"], ["all"])
    (['test'], [], [])
    """
    if asked:
        return [] if ALL_PHOTOS in asked else list(asked)
    return [split for split in JUDGING if split in splits][:1]


def chosen_on(
    splits: Sequence[str], judged: Sequence[str], asked: Sequence[str] | None = None
) -> list[str]:
    """The splits that units are chosen on; none = all photos, as published.

    judged : of :func:`judged_on`. Where nothing is asked, units are chosen on all photos that are
    not judged, so that no unit is judged on the photos that it was chosen by; on all of them where
    all are judged.

    >>> chosen_on(["test", "train", "val"], ["test"]), chosen_on(["test"], ["test"])
    (['train', 'val'], [])
    """
    if asked:
        return [] if ALL_PHOTOS in asked else list(asked)
    return [split for split in splits if split not in judged] if judged else []


SEARCHING = ("val", "validation", "train")
"""Splits that a search takes, the best first: of photos that it was trained on a network says
little wrong."""


def judged_split(splits: Sequence[str]) -> str:
    """The one split of :func:`judged_on` where nothing is asked; "" is all photos.

    >>> judged_split(["test", "train", "val"]), judged_split(["train", "unseen"])
    ('test', '')
    """
    return next(iter(judged_on(splits)), "")


def searched_split(splits: Sequence[str]) -> str:
    """The one split that a search for units takes, of those that units are chosen on: never the one
    that they are judged on; "" is all photos.

    >>> searched_split(["test", "train", "val"]), searched_split(["train", "val"])
    ('val', 'train')
    >>> searched_split(["val"]), searched_split(["train", "unseen"])
    ('', 'train')
    """
    judged = judged_on(splits)
    chosen = chosen_on(splits, judged) or [split for split in splits if split not in judged]
    return next((split for split in SEARCHING if split in chosen), "")


def splits_words(splits: Sequence[str]) -> str:
    """Splits as figures and answers name them.

    >>> splits_words([]), splits_words(["train", "val"])
    ('all photos', 'train and val photos')
    """
    return f"{' and '.join(splits)} photos" if splits else "all photos"


# -- what a server allows -------------------------------------------------------------------

CONFIG = "UNITSCOPE_CONFIG"
"""The environment's word for another configuration file than :data:`CONFIG_FILE`."""

CONFIG_FILE = ROOT / ".streamlit" / "unitscope.toml"

SERVING: dict[str, type] = {
    "mode": str,
    "owners": list,
    "roots": list,
    "allow_python": bool,
    "limits": dict,
}
"""What the file may say, beside the table ``limits``: the options of ``pages.parts.serve``."""


@dataclass(frozen=True)
class Limits:
    """Quotas of a server and its jobs: table ``limits`` of the configuration file.

    Attributes
    ----------
    photo_mb, names_mb : size of one photo or one file of corrected names that is uploaded.
    drop_mb, drop_files : size of a zip or folder that an owner drops in as a data set, and files in
        it.
    uploads : files that one visitor's session may hold at once. uploads_mb : all sessions.
    photos_an_hour : photos of their own that visitors may have explained, all together.
    names_files : files of corrected names kept of one run.
    jobs : how many may be at work at once.
    free_gb : disk that is kept free: nothing is started or kept beyond it.
    """

    photo_mb: int = 20
    names_mb: int = 5
    uploads: int = 10
    uploads_mb: int = 400
    drop_mb: int = 200
    drop_files: int = 20_000
    photos_an_hour: int = 600
    names_files: int = 100
    jobs: int = 3
    free_gb: float = 1.0

    def room(self, folder: Path) -> None:
        """Raises UnitscopeError where less than `free_gb` is free on the disk of `folder`."""
        free = shutil.disk_usage(folder).free / 1e9
        if free < self.free_gb:
            raise UnitscopeError(
                f"only {free:.1f} GB are free where the runs lie, and {self.free_gb:g} GB are "
                "kept free (free_gb): delete runs that are no longer needed"
            )

    def size(self, what: str, data: bytes, most: int) -> None:
        """Raises UnitscopeError where an upload is larger than `most` megabytes."""
        if len(data) > most * 1_000_000:
            raise UnitscopeError(
                f"{what} is {len(data) / 1e6:.1f} MB large; this server takes {most} MB at most"
            )


@dataclass(frozen=True)
class Configuration:
    """What the configuration file says of the server (:data:`SERVING`), checked.

    mode, owners : "" and none where it does not say. roots : None where it does not say.
    """

    mode: str = ""
    owners: tuple[str, ...] = ()
    roots: tuple[str, ...] | None = None
    allow_python: bool = False
    limits: Limits = Limits()


def configuration() -> Configuration:
    """What the configuration file says.

    Raises UnitscopeError for a word it does not know (with the nearest), a value of another type,
    a file that is no TOML, or one that the environment names and that is not there.
    """
    path = Path(os.environ.get(CONFIG) or CONFIG_FILE)
    said: Json = {}
    if path.is_file() or CONFIG in os.environ:
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise BadFile(path, f"cannot be read: {err}") from err
    kinds: dict[str, type] = {f.name: type(f.default) for f in fields(Limits)}
    words = {
        str: "text",
        list: "list",
        bool: "true or false",
        dict: "table",
        int: "whole number",
        float: "number",
    }
    for part, known in (("", SERVING), ("limits", kinds)):
        given = said.get(part, {}) if part else said
        for name, value in given.items():
            if name not in known:
                raise BadFile(path, str(unknown("setting", name, known)))
            # TOML has 2 and 2.0 apart; true is no number.
            fits = isinstance(value, (known[name], int) if known[name] is float else known[name])
            if not fits or isinstance(value, bool) is not (known[name] is bool):
                raise BadFile(path, f"{name} = {value!r} is not a {words[known[name]]}")
            if known[name] in (int, float) and value < 0:
                raise BadFile(path, f"{name} = {value!r} is below 0")
    listed: Json = {
        name: tuple(map(str, said[name])) for name in ("owners", "roots") if name in said
    }
    checked: Json = {**said, **listed, "limits": Limits(**said.get("limits", {}))}
    return Configuration(**checked)


def limits() -> Limits:
    """The quotas that hold here."""
    return configuration().limits
