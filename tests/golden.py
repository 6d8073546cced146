"""Golden results: every computation of `core.foundation.versions` on small fixed input.

``python -m tests.golden`` compares with tests/golden.json; ``--record`` (``make golden``) records
what changed as it may: a computation whose version was raised, or whose code changed while its
results did not. Changed results under an unchanged version are refused.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import math
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from core.foundation.errors import allow_empty
from core.foundation.geometry import Preprocessing
from core.foundation.versions import VERSIONS, WORLD
from tests import tiny, tiny_reproduce

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).with_suffix(".json")

PACKAGES = ("altair", "numpy", "pandas", "pillow", "pykeen", "scikit-learn", "scipy", "torch")
"""Releases that decide results too: told where results changed under other ones."""

CLOSE = 1e-9
"""Relative difference that figures of plain numpy may have: sums come in another order on
another processor. Whole numbers, words and yes or no are compared exactly."""

TRAINED = 1e-4
"""The same where a convolution or a training runs."""

LISTED = 12
"""Arrays of up to so many values are recorded whole, longer ones as sums."""


# -- the code ---------------------------------------------------------------------------------


def code_digest(files: Sequence[Path]) -> str:
    """Hex digest of what Python files compute: comments, docstrings and layout do not count.

    Only node types and fields that are set go in, so that Python versions, which add fields to
    the syntax tree, agree. Raises FileNotFoundError for a file that does not exist.
    """
    h = hashlib.sha256()

    def visit(node: object) -> None:
        if isinstance(node, ast.AST):
            h.update(type(node).__name__.encode() + b"(")
            for name, value in ast.iter_fields(node):
                if name in ("kind", "type_comment", "ctx") or value is None or value == []:
                    continue
                if name == "body" and isinstance(value, list):
                    value = [
                        v
                        for v in value
                        if not (isinstance(v, ast.Expr) and isinstance(v.value, ast.Constant))
                    ]
                h.update(name.encode() + b"=")
                visit(value)
            h.update(b")")
        elif isinstance(node, list):
            for item in node:
                visit(item)
                h.update(b",")
        else:
            h.update(repr(node).encode())

    for file in files:
        visit(ast.parse(file.read_text(encoding="utf-8")))
    return h.hexdigest()


# -- results ----------------------------------------------------------------------------------


def figures(value: Any) -> Any:
    """A result as it is recorded: lists, dicts, numbers and words; arrays by :func:`summary`."""
    if isinstance(value, pd.DataFrame):
        return {str(name): figures(value[name].to_numpy()) for name in value}
    if isinstance(value, Mapping):
        return {str(key): figures(one) for key, one in value.items()}
    if isinstance(value, Tensor):
        return summary(value.detach().numpy())
    if isinstance(value, np.ndarray):
        return summary(value)
    if isinstance(value, (list, tuple)):
        plain = [one for one in value if isinstance(one, (int, float))]
        if len(value) > LISTED and len(plain) == len(value):
            return summary(np.asarray(value))
        return [figures(one) for one in value]
    if isinstance(value, np.generic):
        return figures(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    raise TypeError(f"{type(value).__name__} cannot be recorded")


def summary(array: np.ndarray) -> Any:
    """An array: its values, or where these are many its shape and sums.

    Sums of whole numbers are Σ w·x with two fixed weights a place, exact in 64 bits. Of other
    numbers ``size`` = Σ |x| stands before them: what a change of the sums is measured by. Of words,
    and of what else, a digest of them all.
    """
    flat = array.ravel()
    if array.dtype == object:
        values = [figures(one) for one in flat]
        if len(values) <= LISTED:
            return values
        text = json.dumps(values, ensure_ascii=False)
        return {"shape": list(array.shape), "digest": hashlib.sha256(text.encode()).hexdigest()}
    if len(flat) <= LISTED:
        return [figures(one) for one in array.tolist()]
    place = np.arange(len(flat), dtype=np.int64)
    weights = (place * 7919 % 1009 - 504, place * 104_729 % 997 + 1)
    if array.dtype.kind in "biu":
        whole = flat.astype(np.int64)
        return {"shape": list(array.shape), "sums": [int((w * whole).sum()) for w in weights]}
    numbers = flat.astype(np.float64)
    odd = ~np.isfinite(numbers)
    numbers = np.where(odd, 0.0, numbers)
    told: dict[str, Any] = {"shape": list(array.shape)}
    if odd.any():
        told["not finite"] = summary(odd)
    # Weights within −1 … 1, so that no sum is larger than the size.
    sums = [math.fsum(w / 1009 * numbers) for w in weights]
    return {**told, "size": math.fsum(np.abs(numbers)), "float sums": sums}


def differences(before: Any, after: Any, close: float, at: str = "") -> list[str]:
    """What of two recorded results is not the same, a line a figure."""
    name = at or "the result"
    if isinstance(before, dict) and isinstance(after, dict):
        if "float sums" in before and "float sums" in after:
            room = close * max(before["size"], after["size"])
            pairs = [(before["size"], after["size"])]
            pairs += zip(before["float sums"], after["float sums"], strict=True)
            same = all(abs(one - other) <= room for one, other in pairs)
            rest = [key for key in ("shape", "not finite") if before.get(key) != after.get(key)]
            return [] if same and not rest else [f"{name} was {before}, is {after}"]
        out = [f"{at}.{key} is gone".lstrip(".") for key in before if key not in after]
        out += [f"{at}.{key} is new".lstrip(".") for key in after if key not in before]
        for key in before:
            if key in after:
                out += differences(before[key], after[key], close, f"{at}.{key}".lstrip("."))
        return out
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        # Small next to its neighbours is small: a rounded 0 is no other result.
        scale = max((abs(x) for x in before if isinstance(x, float)), default=0.0)
        out = []
        for k, (one, other) in enumerate(zip(before, after, strict=True)):
            if isinstance(one, float) and isinstance(other, float):
                if abs(one - other) > close * max(scale, abs(other)):
                    out.append(f"{name}[{k}] was {one!r}, is {other!r}")
            else:
                out += differences(one, other, close, f"{at}[{k}]")
        return out
    if isinstance(before, float) and isinstance(after, float):
        if math.isclose(before, after, rel_tol=close, abs_tol=1e-12):
            return []
    elif before == after and type(before) is type(after):
        return []
    return [f"{name} was {before!r}, is {after!r}"]


# -- the guard --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Computation:
    """What is guarded.

    Attributes
    ----------
    results : computes on the shared :class:`Inputs`, and gives what :func:`figures` can record.
    modules : dotted names of the modules that compute it.
    close : relative difference that its figures may have.
    version : the one the code has now. raised : how to say that it is raised.
    """

    results: Callable[[Inputs], Any]
    modules: tuple[str, ...]
    version: Callable[[], int]
    raised: str
    close: float = CLOSE

    def code(self) -> str:
        """Digest of its modules; raises FileNotFoundError where one does not exist."""
        return code_digest([ROOT / f"{name.replace('.', '/')}.py" for name in self.modules])


Record = dict[str, Any]
"""Of one computation: version, code, results."""


def now(computation: Computation, given: Inputs) -> Record:
    """What would be recorded of a computation now."""
    # The drawn things are in few graphs: what then has no effect is not what is looked at here.
    with allow_empty(lambda why: None):
        results = figures(computation.results(given))
    return {
        "version": computation.version(),
        "code": computation.code(),
        "results": json.loads(json.dumps(results)),
    }


def judge(
    name: str, computation: Computation, before: Record | None, after: Record
) -> tuple[str, bool]:
    """(what is wrong, "" where nothing is; may `make golden` record it)."""
    if before is None:
        return f"{name} is not recorded: `make golden` records it", True
    if after["version"] < before["version"]:
        return (
            f"{name} has version {after['version']}, and {before['version']} is recorded: a "
            "version never goes back",
            False,
        )
    if after["version"] > before["version"]:
        return f"{name} has a new version: `make golden` records its results", True
    changed = differences(before["results"], after["results"], computation.close)
    if changed:
        more = f" (and {len(changed) - 5} more)" if len(changed) > 5 else ""
        return (
            f"results of {name} changed under the same version: {'; '.join(changed[:5])}{more}. "
            f"{computation.raised} if this is meant",
            False,
        )
    if after["code"] != before["code"]:
        return f"code of {name} changed, its results did not: `make golden` records that", True
    return "", True


def recorded(file: Path = FILE) -> dict[str, Any]:
    """The recorded file: ``packages`` and ``computations``; empty where there is none."""
    if not file.is_file():
        return {"packages": {}, "computations": {}}
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return told


def other_packages(told: Mapping[str, str]) -> str:
    """Releases that are not the recorded ones, in words; "" where there are none."""
    here = {name: version(name) for name in told}
    pairs = [f"{name} {told[name]} → {here[name]}" for name in told if told[name] != here[name]]
    return f"recorded with other releases: {', '.join(pairs)}" if pairs else ""


def record(
    computations: Mapping[str, Computation], made: Mapping[str, Record], file: Path = FILE
) -> list[str]:
    """Write down what may be recorded; returns what is refused, in which case nothing is written.

    Results that are the recorded ones, to within what is allowed, stay as they are.
    """
    held = recorded(file)["computations"]
    refused, kept = [], {}
    for name, computation in computations.items():
        wrong, may = judge(name, computation, held.get(name), made[name])
        if not may:
            refused.append(wrong)
        kept[name] = made[name]
        if name in held and held[name]["version"] == made[name]["version"]:
            kept[name] = {**made[name], "results": held[name]["results"]}
    if not refused:
        text = json.dumps(
            {"packages": {p: version(p) for p in PACKAGES}, "computations": kept},
            indent=1,
            ensure_ascii=False,
        )
        file.write_text(_narrow(text) + "\n", encoding="utf-8")
    return refused


def _narrow(text: str) -> str:
    """JSON with every innermost list and object on one line, where it fits."""
    lines: list[str] = []
    opened: list[int] = []
    for line in text.splitlines():
        lines.append(line)
        if line.rstrip().endswith(("[", "{")):
            opened.append(len(lines) - 1)
        elif line.strip().rstrip(",") in ("]", "}") and opened:
            start = opened.pop()
            whole = lines[start] + " ".join(part.strip() for part in lines[start + 1 :])
            if len(whole) <= 300:
                lines[start:] = [whole]
    return "\n".join(lines)


# -- input that every computation shares --------------------------------------------------------


class Exact(nn.Module):
    """A network whose feature maps are the same numbers on every processor.

    Inputs and weights are small multiples of a power of two, so that float32 sums are exact in
    whatever order they are made. `steps` : does its forward pass ask for values of tensors, which
    keeps it from being traced?
    """

    def __init__(self, steps: bool = False) -> None:
        super().__init__()
        rng = np.random.default_rng(5)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(12, len(tiny.SCENES))
        self.steps = steps
        for parameter in self.body.parameters():
            drawn = rng.integers(-8, 9, tuple(parameter.shape)) / 8
            parameter.data = torch.tensor(drawn, dtype=torch.float32)
        # Weights and biases under which all classes are predicted of the drawn photos.
        drawn = np.random.default_rng(29).integers(-8, 9, (len(tiny.SCENES), 12)) / 32
        self.head.weight.data = torch.tensor(drawn, dtype=torch.float32)
        self.head.bias.data = torch.tensor([2.40625, 2.828125, -2.921875])

    def forward(self, x: Tensor) -> Tensor:
        x = self.body((x * 8).round() / 8)
        if self.steps and bool(x.sum() < 0):
            raise ValueError("maps behind a ReLU are not negative")
        return self.head(x.mean((2, 3)))


def exact() -> tuple[nn.Module, dict[str, Any]]:
    """The ``python:`` function of :class:`Exact`."""
    return Exact(), tiny.net()[1]


def untraceable() -> tuple[nn.Module, dict[str, Any]]:
    """The same network with a forward pass that cannot be traced."""
    return Exact(steps=True), tiny.net()[1]


class Inputs:
    """Small fixed input, made where it is first asked for: drawn photos, a run, facts, …"""

    def __init__(self, root: Path):
        self.root = root
        self.data = tiny_reproduce.write(root / "data", 60)

    def folder(self, name: str) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.root))

    @property
    def photos(self) -> str:
        """SPEC of 60 photos of 40×32 pixels with masks of objects and parts."""
        return f"folder:{self.data / 'photos'}"

    @property
    def knowledge(self) -> str:
        """SPEC of facts about what they show."""
        return f"triples:{self.data / 'facts.tsv'}"

    def dissected(self, model: str, **settings: Any) -> Any:
        """A finished run of a network on the photos, its arrays in float32."""
        from core.dissect.pipeline import execute
        from core.dissect.plan import plan
        from core.foundation.settings import Settings

        asked = Settings(self.photos, model, q=0.05, map_type="float32", **settings)
        return execute(plan(asked), self.root / "runs", threads=1)

    @cached_property
    def run(self) -> Any:
        """Two layers of :class:`Exact`, with its untrained twin."""
        return self.dissected(
            "python:tests.golden:exact",
            layers=("body.1", "body.3"),
            shuffles=19,
            knowledge=self.knowledge,
        )

    @cached_property
    def graph(self) -> Any:
        from core.knowledge.kinds import open_knowledge

        return open_knowledge(self.knowledge)

    @cached_property
    def cores(self) -> Any:
        """Core concepts by kind."""
        from core.paper.tables import all_core_concepts

        return all_core_concepts(self.run, self.graph)

    @cached_property
    def toggler(self) -> Any:
        from core.ablation.toggler import prepare

        return prepare(self.run, "body.3")

    @cached_property
    def study(self) -> Any:
        from core.ablation.protocols import Study

        return Study.of(self.toggler, self.graph)

    @cached_property
    def space(self) -> Any:
        from core.merging.fuse import Space

        return Space(self.run, self.graph)

    @cached_property
    def vectors(self) -> Any:
        """Drawn vectors of the run's concepts, as an embedding would give them."""
        from core.merging.fuse import Vectors

        rng = np.random.default_rng(11)
        rows = rng.integers(-9, 10, (len(self.space.labels), 6)).astype(float)
        rows /= np.sqrt((rows**2).sum(1, keepdims=True))
        return Vectors("drawn", rows, np.ones(len(rows), bool))

    @cached_property
    def svm(self) -> Any:
        from core.retrain.svm import SvmSettings, retrain_pe

        picks = [("metrics",), ("hidden",), ("metrics", "mrr", "hidden")]
        cores = {kind: self.cores[kind] for kind in ("scc", "top10")}
        asked = SvmSettings(per_unit=2, chance=1.0, groups=picks)
        return retrain_pe(self.run, cores, asked, self.folder("svm"))


# -- the computations ---------------------------------------------------------------------------


def picture(width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3), smooth colours."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x // width, 255 * y // height, (x * y) % 251], -1).astype(np.uint8)


def decoding(given: Inputs) -> Any:
    from core.datasets import open_dataset
    from core.datasets.decode import read_labels, read_photo
    from core.datasets.loader import decode

    folder = given.folder("decoding")
    rgb = Image.fromarray(picture(40, 30))
    exif = Image.Exif()
    exif[274] = 6
    rgb.save(folder / "turned.jpg", exif=exif, quality=95)
    rgb.convert("L").save(folder / "grey.png")
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.quantize(32).save(folder / "palette.png")
    deep = (np.arange(1200, dtype=np.uint32) * 50).reshape(30, 40).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    out: dict[str, Any] = {
        path.name: np.asarray(read_photo(path)) for path in sorted(folder.iterdir())
    }
    out["mask"] = read_labels(folder / "deep.png")
    data = open_dataset(given.photos)
    ways = {
        "resized": Preprocessing(resize=(32, 28), center_crop=24),
        "cropped": Preprocessing(crop=(2, 3, 38, 29), resize=20, center_crop=(20, 16), flip=True),
        "bicubic": Preprocessing(resize=32, center_crop=28, interpolation="bicubic"),
    }
    for name, way in ways.items():
        for index in (0, 7):
            one = decode(data, index, way, (13, 11))
            out[f"{name} {index}"] = {"seen": one.seen, "labels": one.labels, "whole": one.whole}
    return out


def dissection(given: Inputs) -> Any:
    from core.dissect.labels import better_than_chance, unit_labels
    from core.runs.tables import TABLES

    run = given.run
    out: dict[str, Any] = {}
    for name in TABLES:
        # Stored photos are for the eye. Names of files are the user's. The twin's weights are
        # drawn at random: its counts differ by a pixel where another processor rounds otherwise.
        if name in ("meta", "untrained"):
            continue
        columns = "* EXCLUDE (photo_at, photo_bytes)" if name == "images" else "*"
        frame = run.sql(f"SELECT {columns} FROM {name} ORDER BY ALL")
        if name == "chance":
            lists = frame.pop("ious")
            out["chance ious"] = np.concatenate([np.asarray(one, float) for one in lists])
        out[name] = frame
    out["untrained"] = run.sql(
        "SELECT layer, denominator, count(*) AS units FROM untrained GROUP BY ALL ORDER BY ALL"
    )
    out["untrained ious"] = float(run.sql("SELECT avg(iou) AS iou FROM untrained")["iou"][0])
    for layer in run.layer_names:
        out[f"pooled {layer}"] = run.array(f"pooled-{layer}")
        out[f"maps {layer}"] = np.asarray(run.array(f"maps-{layer}"))
        labels = unit_labels(run, layer, per_unit=2)
        out[f"labels {layer}"] = labels[["unit", "rank", "name", "iou", "chance", "adjusted"]]
        found = better_than_chance(run, layer)
        out[f"better than chance {layer}"] = {
            key: getattr(found, key) for key in ("units", "tested", "above", "by_chance")
        }
    out["logits"] = run.array("logits")
    return out


def replay(given: Inputs) -> Any:
    from core.ablation.edits import Edit
    from core.ablation.toggler import prepare

    out: dict[str, Any] = {}
    whole = given.dissected(
        "python:tests.golden:untraceable", layers=("body.1",), shuffles=0, splits=("test",)
    )
    for name, toggler in (
        ("behind the last convolution", given.toggler),
        ("before it", prepare(given.run, "body.1")),
        ("without a trace", prepare(whole, "body.1")),
    ):
        edits = {"disabled": Edit((1, 4)), "clamped": Edit((0,), clamp=1.5)}
        out[name] = {
            "way": toggler.method,
            "unedited": toggler.logits(),
            **{kind: toggler.logits_after(edit) for kind, edit in edits.items()},
        }
        told = toggler.toggle(Edit((1, 4)), splits=["test"])
        out[name] |= {"before": told.accuracy[0].right, "after": told.accuracy[1].right}
        rows = np.arange(10)
        orders = np.arange(20).reshape(10, 2) % 8
        for k, predicted in toggler.sweep(rows, orders, [1, 2]):
            out[name][f"sweep {k}"] = predicted.predicted
    return out


def effects(given: Inputs) -> Any:
    from core.attribution.case import Opened
    from core.attribution.effects import measure
    from core.attribution.evidence import KINDS, concept_evidence, evidence
    from core.attribution.fillings import FILLINGS
    from core.attribution.measured import Asked, measure_splits

    opened = Opened.of(given.run)
    case = opened.case(int(opened.recorded.numbers[3]))
    found = measure(case, FILLINGS.names(), controls=2)
    out: dict[str, Any] = {
        "concepts": list(found.regions.names),
        "before": found.before,
        "after": found.after,
        "controls": np.nan_to_num(found.controls),
    }
    for kind in KINDS:
        one = evidence(case, 0, 1, kind)
        out[kind] = [one.margin, one.gap, one.bias, *concept_evidence(case, one)]
    whole = measure_splits(opened, Asked(("mean",), controls=2, splits=("test",)))
    a, b = (whole.images[name].to_numpy() for name in ("predicted", "against"))
    out["split"] = {"effect": whole.effect(a, b), "evidence": np.nan_to_num(whole.evidence)}
    return out


def caused(given: Inputs) -> Any:
    from core.attribution.account import Question, causes
    from core.attribution.case import Opened
    from core.attribution.effects import edited

    opened = Opened.of(given.run)
    case = opened.case(int(opened.recorded.numbers[3]))
    found = causes(case, given.cores["icc"], Question(controls=2, tested=3))
    return {
        "margin": [found.margin, found.bias, found.gap],
        "rows": [
            [row.name, row.effect, row.least, row.most, *(row.band or ()), row.evidence]
            for row in found.rows
        ],
        "said": [
            [row.removed.answer, row.standing_answer, row.standing_against] for row in found.rows
        ],
        "sentence": found.sentence,
        "edited": edited(case, [row.concept for row in found.rows[:2]], "mean"),
    }


def truth(given: Inputs) -> Any:
    from core.attribution.case import Opened
    from core.attribution.judged import FIGURES, Asked
    from core.attribution.methods import METHODS
    from core.attribution.truth import hold_against_truth

    opened = Opened.of(given.run)
    case = opened.case(int(opened.recorded.numbers[3]))
    # Graphs and vectors that are learned have golden results of their own.
    own = [method for method in METHODS if not method.needs and not method.rests_on]
    found = hold_against_truth(opened, Asked(tuple(m.name for m in own), "test", 3, "mean"))
    return {
        "said": {method.name: method.ask(case, 0, 1) for method in own},
        "judged": {
            f"{row.method} {row.answers}": [row.figures[name].value for name in FIGURES]
            for row in found.rows
        },
        "best": [figure.value for figure in found.best.values()],
        "background": [figure.value for figure in found.background.values()],
    }


def signatures_(given: Inputs) -> Any:
    from core.dissect.signatures import signatures

    out: dict[str, Any] = {}
    for name, more in (
        ("whole", {}),
        ("test", {"splits": ["test"]}),
        ("exchanged", {"shuffle": 3}),
    ):
        s = signatures(given.run, "body.3", threads=1, **more)
        out[name] = {
            key: getattr(s, "active" if key == "lit" else key)
            for key in ("labels", "pixels", "starts", "which", "lit", "hits", "areas", "together")
        }
        out[name]["unit concept"] = s.unit_concept()
    return out


def formulas(given: Inputs) -> Any:
    from core.dissect.formula_search import Search
    from core.dissect.formulas import unit_formulas

    out: dict[str, Any] = {}
    for name, search, more in (
        ("beam", Search(), {"shuffles": 1}),
        ("penalty", Search(length=4, beam=3, penalty=0.95), {}),
        ("optimal", Search(optimal=True), {}),
        ("merged", Search(), {"groups": {2: 1, 3: 1}}),
        ("test objects", Search(categories=("object",), splits=("test",)), {}),
    ):
        frame, _ = unit_formulas(given.run, "body.3", search, **more)
        out[name] = frame[[c for c in frame if frame[c].dtype != object or c == "formula"]]
    return out


def unit_map(_: Inputs) -> Any:
    from core.views.unit_map import correlations, layout

    values = np.random.default_rng(3).integers(0, 100, (50, 9)).astype(float)
    values[:, 4] = values[:, 1] * 2 + values[:, 2]
    similar = correlations(values, chunk=16)
    # t-SNE multiplies the last digit of another processor by its thousand steps: only four units,
    # which stay where the scaling puts them, are compared, and what of the rest is sure.
    whole = layout(similar)
    near = np.argsort(((whole[4] - whole) ** 2).sum(1))[1:3]
    return {
        "correlations": similar,
        "four": layout(similar[:4, :4]),
        "nearest": sorted(near.tolist()),
        "shape": list(whole.shape),
        "farthest": float(np.abs(whole).max()),
    }


def embedding(given: Inputs) -> Any:
    from core.merging.embed import open_embedding, subgraph, training

    names = [f"thing {k}" for k in range(1, 5)] + [f"piece {k}" for k in range(6, 9)]
    sub = subgraph(names, given.graph)
    out: dict[str, Any] = {
        "names": hashlib.sha256("\n".join(sub.names).encode()).hexdigest(),
        "nodes": sub.nodes,
        "triples": sub.triples,
    }
    folder = given.folder("embedding")
    for model in ("TransE", "DistMult", "TransD", "ProjE"):
        made = open_embedding(sub, training(model, epochs=3, dim=8, batch=64), folder)
        out[model] = {"losses": made.losses, "vectors": made.vectors, "quality": made.quality}
    return out


def merging(given: Inputs) -> Any:
    from core.merging.fuse import cluster, dendrogram, filter_scenes, make_links, representatives
    from core.merging.gain import Grouping, run_gain

    space, vectors = given.space, given.vectors
    members, images = space.members, space.images
    tree = dendrogram(vectors, members)
    out: dict[str, Any] = {"merges": tree.merges, "heights": tree.heights}
    links = make_links(len(space.labels), [tuple(members[:2].tolist())])
    for method in ("agglomerative", "kmeans"):
        groups = cluster(vectors, members, 3, method, links)
        out[method] = [group.tolist() for group in groups]
        out[f"representatives {method}"] = representatives(groups, images)
        out[f"gain {method}"] = run_gain(
            given.run, space, vectors, Grouping([2, 4], method, draws=5), "body.3"
        )
    filtered = filter_scenes(space.annotated, vectors, 0.5)
    out["filtered"] = filtered.to
    return out


def explanation(given: Inputs) -> Any:
    from core.explain.account import account
    from core.explain.learned import IOUS, STRATEGIES, learned_concepts
    from core.explain.metrics import consistency, difference, explain_predictions, similarity
    from core.explain.photo import explain_photo

    rng = np.random.default_rng(2)
    learned, core = rng.random((30, 9)) < 0.4, rng.random((4, 9)) < 0.5
    core[3] = False
    predicted, target = rng.integers(-1, 4, (2, 30))
    out: dict[str, Any] = {
        "CM": consistency(learned, core),
        "SM": similarity(learned, core),
        "DM": difference(learned, core),
    }
    told = explain_predictions(learned, core, predicted, target, shuffles=20)
    out["figures"] = {
        name: [one.value, one.low, one.high, one.chance, one.n]
        for name, one in told.figures.items()
    }
    out["left out"] = list(told.left_out.values())
    for strategy in STRATEGIES:
        for iou in IOUS:
            one = learned_concepts(given.run, "body.3", strategy, iou)
            out[f"LC {strategy} {iou}"] = {"has": one.has.toarray(), "tau": one.tau}
    image = given.run.sql("SELECT id FROM images ORDER BY image")["id"][3]
    said = account(given.run, given.cores["icc"], image)
    photo = Image.fromarray(picture(40, 32))
    seen = explain_photo(given.run, given.cores["icc"], photo, chance=1.0)
    for name, one in (("account", said.to_json()), ("photo", seen.to_json())):
        out[name] = {
            "seen": [[row["concept"], row.get("iou"), len(row["units"])] for row in one["seen"]],
            "predicted": one["predicted"],
            "confidence": one["confidence"],
            "scenes": [list(row.values()) for row in one["scenes"]],
        }
    return out


def core_concepts(given: Inputs) -> Any:
    from scipy import sparse

    from core.knowledge.align import align
    from core.knowledge.core_concepts import Annotated, related_concepts
    from core.knowledge.core_concepts import core_concepts as made_of
    from core.knowledge.kinds import open_knowledge

    rng = np.random.default_rng(8)
    concepts = ["bed", "pillow", "oven", "sink", "grass, lawn", "tree", "car", "wheel"]
    categories = ["object"] * 7 + ["part"]
    scenes = ["bedroom", "kitchen", "park", "street"]
    has = sparse.csr_array(rng.random((80, len(concepts))) < 0.35)
    annotated = Annotated(
        scenes, concepts, categories, rng.integers(-1, 4, 80).astype(np.int32), has
    )
    graph = open_knowledge("builtin")
    aligned = align([*concepts, "living_room"], graph)
    out: dict[str, Any] = {
        "aligned": aligned[["name", "node"]],
        "frequency": annotated.frequency,
    }
    related = related_concepts(annotated, graph)
    out["related"] = [sorted(edges) for edges in related]
    for kind in ("scc", "icc", "top10"):
        core = made_of(annotated, related, kind)
        out[kind] = {"members": core.members, "p_c": core.p_c, "p_sc": core.p_sc}
    out["tiny"] = {kind: core.members for kind, core in given.cores.items()}
    return out


def ablation(given: Inputs) -> Any:
    from core.ablation.curves import cross_fitted, curve
    from core.ablation.protocols import RANKINGS
    from core.ablation.search import METHODS, compare, search

    study, toggler = given.study, given.toggler
    out: dict[str, Any] = {}
    for over in ("true", "all"):
        for kind, core in given.cores.items():
            told = study.learned.contribution(core, over)
            out[f"contribution {kind} {over}"] = {
                key: getattr(told, key) for key in ("scores", "inside", "outside", "active")
            }
    kept = ["k", "accuracy", "low", "high", "before", "gain"]
    for ranking in RANKINGS:
        for protocol in ("paper", "global"):
            frame = curve(study, ranking, "negative", protocol, at=[1, 3], seeds=2)
            out[f"curve {ranking} {protocol}"] = frame[kept]
    out["cross-fitted"] = cross_fitted(study, "scc", "positive", at=[2], repeats=2)[kept]
    rows = study.rows()
    for method in METHODS:
        path = search(toggler, rows, method, most=4)
        out[f"search {method}"] = {"units": list(path.best()), "looked": path.looked}
    half = np.arange(6)
    frame = compare(
        toggler,
        rows,
        study.scene,
        {"all": lambda _: None, "six": lambda _: half},
        ["forward"],
        most=3,
        repeats=1,
        controls=2,
    )
    out["compared"] = frame.drop(columns=["seconds"])
    return out


def unit_labels_scored(given: Inputs) -> Any:
    """Labels by regression, simulated, and what units lose without concepts."""
    from core.attribution.case import Opened
    from core.labelling.causal import causal_scores, remove
    from core.labelling.methods import label_units
    from core.labelling.probe import open_probe
    from core.labelling.simulation import LEVELS, simulate

    learn, judge = open_probe(given.run, None, ["train"]), open_probe(given.run, None, ["test"])
    removed = remove(Opened.of(given.run), judge, "mean", photos=6)
    out: dict[str, Any] = {"lost": removed.lost, "concepts": removed.concept}
    for method in ("single", "linear", "formula", "invert"):
        labels = label_units(learn, method)
        scored = causal_scores(removed, labels.terms)
        out[method] = {
            "labels": labels.frame["label"].tolist(),
            "scores": labels.frame["score"].to_numpy(),
            "causal": [np.nan_to_num(scored.scores), scored.agreement],
            **{level: simulate(judge, labels.terms, level).scores for level in LEVELS},
        }
    return out


def encoded(_inputs: Inputs) -> Any:
    """CLIP-Dissect's similarities of drawn tables, and where ConSE puts photos."""
    from core.labelling.conse import Conse, WordVectors
    from core.labelling.similarity import SIMILARITIES
    from core.models.base import LoadedModel

    rng = np.random.default_rng(0)
    q = rng.normal(size=(120, 5)).astype(np.float32)
    p = (0.2 + 0.03 * rng.normal(size=(120, 9))).astype(np.float32)
    found = {name: similarity(q, p) for name, similarity in SIMILARITIES.items()}

    class Drawn(WordVectors):
        name = "drawn"

        def vectors(self, words: Sequence[str]) -> np.ndarray:
            return np.random.default_rng(1).normal(size=(len(words), 6)).astype(np.float32)

        def digest(self) -> str:
            return "drawn"

    steps = Preprocessing(resize=(8, 8), center_crop=None)
    names = [f"class {k}" for k in range(14)]
    net = LoadedModel(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 14)), steps, names, "python:n", "0"
    )
    conse = Conse("conse:drawn", net, names, Drawn())
    logits = np.random.default_rng(2).normal(size=(4, 14)).astype(np.float32)
    return {"similarities": found, "conse": conse.place(logits)}


def dictionaries(_inputs: Inputs) -> Any:
    """A small dictionary after a few steps, and how alike two are."""
    from core.dictionary.cells import Cells
    from core.dictionary.stability import directions, likeness
    from core.dictionary.train import Recipe, fit

    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(12, 20)).astype(np.float32)
    chosen = rng.random((40, 9, 12)) < 0.2
    maps = np.einsum("npa,au->nup", chosen * rng.random(chosen.shape), atoms)
    cells = Cells.of(np.abs(maps).astype(np.float32).reshape(40, 20, 3, 3))
    made = [
        fit(cells, Recipe(features=24, k=3, steps=5, batch=32, seed=seed)).dictionary()
        for seed in (0, 1)
    ]
    alike = likeness(*(directions(one) for one in made))
    return {"directions": directions(made[0]), "alike": [float(np.mean(part)) for part in alike]}


def graphs_asked(_inputs: Inputs) -> Any:
    """What the graph reasoning network says of made-up graphs, and where regions lie."""
    from core.graphs.network import Reasoner, batch_of
    from core.graphs.scg import Graphs, between, least_rise, middles

    rng = np.random.default_rng(0)
    shown = rng.random((6, 3)) < 0.8
    at = np.where(shown, np.cumsum(shown).reshape(6, 3), -1)
    features = rng.normal(size=(int(shown.sum()) + 1, 8)).astype(np.float32)
    features[0] = 0
    places = rng.random((6, 3, 2)).astype(np.float32)
    graphs = Graphs(np.arange(6), np.array([1, 2, 3]), features, at, places)
    torch.manual_seed(0)
    module = Reasoner(8, 2, 2)
    batch = batch_of(graphs, np.array([[0, 1], [1, 2]]), np.arange(6), 2.0)
    rises = least_rise(shown[:5].astype(float), rng.normal(size=(5, 2)))
    return {
        "logits": module(batch).detach().numpy(),
        "edges": between(places[:, 0], places[:, 1]),
        "middles": middles(rng.random((4, 5, 6)) < 0.4),
        "rises": np.nan_to_num(rises, neginf=-9.0),
    }


def vectors_learned(given: Inputs) -> Any:
    """A CAV of drawn examples, Shapley values by their definition, and concept vectors."""
    from core.attribution.case import Opened
    from core.directions.cav import Examples, cavs
    from core.directions.conceptshap import Asked, concept_vectors
    from core.directions.shapley import exact_matrix, kernel_matrix, sampled_subsets
    from core.directions.vectors import Learning

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 12)).astype(np.float32)
    rows[:30, 0] += 2
    found = cavs(Examples(rows), np.arange(30), [np.arange(30, 60)], 0)
    learning = Learning(concepts=3, epochs=1, steps=0)
    asked = Asked(learning=learning, learn=("train",), judge=("test",))
    vectors = concept_vectors(Opened.of(given.run), asked)
    return {
        "cav": [found.weights, found.accuracy],
        "exact": exact_matrix(3),
        "kernel": kernel_matrix(sampled_subsets(6, 20, 0.3, 0)),
        "vectors": vectors.surrogate.vectors.numpy(),
    }


def reliance(_inputs: Inputs) -> Any:
    """What made-up effects rest on, their mistakes sorted, their failures foretold."""
    from core.attribution import failure, labels, mistakes
    from core.attribution.reliance import reliance as rests_on
    from tests.attribution.made import SCENES, core_of, made

    pulls = {("bed", "attic"): 1.0, ("lamp", "barn"): 1.0, ("cow", "attic"): 2.0}
    measured = made(20, pulls, noise=1.2, seed=7)
    core = core_of({"attic": ("bed", "hay"), "barn": ("cow",)})
    found = rests_on(measured, core)
    given = measured.images["target"].to_numpy()
    odds = np.exp(measured.before.astype(np.float64))
    suspected, likeliest = labels.confident(odds / odds.sum(1, keepdims=True), given)
    sorted_ = mistakes.sort_mistakes(measured, core, SCENES)
    told = failure.features(measured, measured.evidence[:, 0].astype(np.float64), core, SCENES)
    return {
        "rows": found.rows[["scene", "name", "net", "low", "share", "p", "q"]].to_dict("list"),
        "standings": [str(one) for one in found.rows["standing"]],
        "pulls": found.shortcuts(all_rows=True)[["scene", "name", "net", "q"]].to_dict("list"),
        "kinds": [str(one) for one in sorted_.errors["kind"]],
        "slices": sorted_.slices[["scene", "name", "rate", "expected", "q"]].to_dict("list"),
        "suspected": [np.flatnonzero(suspected).tolist(), likeliest.tolist()],
        "shares": {name: told[name].dropna().sum() for name in failure.SHARES},
        "auroc": failure.auroc(-told["confidence"].to_numpy(), told["wrong"].to_numpy(bool)),
    }


def svm(given: Inputs) -> Any:
    from core.retrain.svm import accuracies, fit_svm

    rng = np.random.default_rng(4)
    target = np.arange(60) % 3
    values = rng.integers(0, 6, (60, 5)) + 2 * np.eye(5)[target] * 2
    fitted = fit_svm(values[:40], target[:40], values[40:])
    rows = pd.DataFrame([asdict(row) for row in accuracies(given.svm)])
    return {
        "fixed": [fitted.predicted, fitted.cost, fitted.validation],
        "accuracies": rows[["features", "cost", "right", "n", "accuracy", "validation", "gain"]],
        "predicted": [row["predicted"] for row in given.svm["rows"]],
    }


def retraining(given: Inputs) -> Any:
    from core.foundation.settings import Retraining
    from core.retrain.concepts import concept_loss
    from core.retrain.plan import plan
    from core.retrain.training import retrain

    rng = np.random.default_rng(6)
    scores = torch.tensor(rng.integers(-20, 20, (7, 5)) / 8, dtype=torch.float32)
    golden = torch.tensor(rng.random((7, 5)) < 0.5, dtype=torch.float32)
    out: dict[str, Any] = {
        f"loss {form}": concept_loss(scores, golden, form) for form in ("softmax", "sigmoid")
    }
    asked = Retraining(
        given.photos,
        "python:tests.golden:exact",
        weights=(1.0,),
        seeds=1,
        epochs=2,
        batch=8,
        rate=0.003,
        knowledge=given.knowledge,
    )
    told = retrain(plan(asked), given.folder("retrain"))
    out |= {key: told[key] for key in ("counts", "core", "chosen", "target", "head", "classifier")}
    out["trainings"] = [
        {"cc": one["cc"], "curve": [list(point.values()) for point in one["curve"]]}
        for one in told["trainings"]
    ]
    return out


def tables(given: Inputs) -> Any:
    from core.merging.gain import Grouping, run_gain
    from core.paper.tables import Filtering, table_1, table_4, table_5, table_6, tables_2_and_3

    run, graph = given.run, given.graph
    made = {
        "1": table_1(run, graph, ["test"]),
        "4": table_4([run], graph, ["test"]),
        "6": table_6([given.svm]),
    }
    asked = Filtering(4, splits=["test"], draws=3)
    made["2"], made["3"] = tables_2_and_3(run, graph, given.space, given.vectors, asked)
    gain = run_gain(run, given.space, given.vectors, Grouping([2, 4], draws=5), "body.3")
    made["5"] = table_5(run, graph, {"drawn": gain}, layer="body.3")
    out: dict[str, Any] = {}
    for name, table in made.items():
        for labels, told in table.rows:
            out[f"table {name} {' '.join(labels)}"] = {
                key: [one.value, one.low, one.high, one.chance, one.n]
                for key, one in told.figures.items()
            }
    return out


def drawn(given: Inputs) -> Any:
    from core.figures.base import Caption
    from core.figures.contents import FIGURES, available, open_view
    from core.figures.disable import curves
    from core.figures.retrain import retraining as bars

    view = open_view(given.run)
    charts = {name: FIGURES[name].draw(view) for name in available(view)[0]}
    out = {name: _spec(chart) for name, chart in charts.items() if chart is not None}
    k = np.tile([1, 2, 5], 4)
    shift = np.arange(12) / 64
    points = pd.DataFrame(
        {
            "ranking": np.repeat(["scc", "random"] * 2, 3),
            "protocol": "paper",
            "sign": np.repeat(["positive", "negative"], 6),
            "k": k,
            "units": k.astype(float),
            "accuracy": 0.5 - shift,
            "low": 0.4 - shift,
            "high": 0.6 - shift,
            "before": 0.5,
            "gain": -shift,
            "gain_low": -shift - 0.125,
            "gain_high": -shift + 0.125,
            "gained": 1,
            "lost": 2,
            "selection": "test",
            "judged": "test",
            "n": 30,
        }
    )
    about = Caption("photos", "network", "layer", "strategy", "split")
    out["curves"] = _spec(curves(points, about))
    trained = pd.DataFrame(
        {
            "model": "network",
            "method": ["original", "control", "SCC", "ICC"],
            "accuracy": [0.5, 0.5625, 0.625, 0.75],
            "low": [0.4, np.nan, 0.5, 0.5],
            "high": [0.6, np.nan, 0.75, 0.875],
            "seeds": 2,
            "dataset": "photos",
        }
    )
    out["retraining"] = _spec(bars(trained, about))
    return out


def _spec(chart: Any) -> Any:
    """Of a chart's Vega-Lite specification: its marks, its data by rows and digest, and a digest
    of the rest. Numbers are compared to nine digits."""

    def rounded(part: Any) -> Any:
        if isinstance(part, float):
            return float(f"{part:.9g}")
        if isinstance(part, dict):
            return {key: rounded(one) for key, one in sorted(part.items())}
        return [rounded(one) for one in part] if isinstance(part, (list, tuple)) else part

    def digest(part: Any) -> str:
        return hashlib.sha256(json.dumps(rounded(part)).encode()).hexdigest()[:16]

    told = chart.to_dict()
    told.pop("$schema", None)
    # A data set is named by a hash of its rows to the last digit; here by its place.
    held = told.pop("datasets", {})
    text = json.dumps(rounded(told))
    for number, name in enumerate(sorted(held, key=text.index)):
        text = text.replace(name, f"data-{number}")
    return {
        "rows": [len(rows) for rows in held.values()],
        "data": sorted(digest(rows) for rows in held.values()),
        "chart": hashlib.sha256(text.encode()).hexdigest()[:16],
    }


# -- datasets -----------------------------------------------------------------------------------


def dataset_facts(spec: str) -> Any:
    """All that a dataset says: names, scenes, splits, label maps, photos' sizes, problems."""
    from core.datasets import open_dataset

    data = open_dataset(spec)
    out: dict[str, Any] = {
        "ids": list(data.ids),
        "scene": np.asarray(data.scene),
        "scenes": list(data.scenes),
        "split": list(data.split),
        "concepts": [[one.id, one.name, one.category] for one in data.concepts[:40]],
        "problems": len(data.problems),
    }
    for index in range(len(data)):
        photo, marked = data.photo(index), data.annotations(index)
        out[f"photo {index}"] = [
            list(photo.size),
            int(np.asarray(photo, np.int64).sum()),
            marked.maps,
            list(marked.whole),
        ]
    return out


def readers() -> dict[type, Callable[[Path], Iterable[str]]]:
    """Class of a reader → writes small trees into a folder, and gives the SPECs that open them.

    The writers are those of the readers' own tests.
    """
    from core.datasets.instances import Instances
    from core.datasets.readers.ade20k import ADE20K
    from core.datasets.readers.ade150 import ADE150
    from core.datasets.readers.broden import Broden
    from core.datasets.readers.coco import Coco
    from core.datasets.readers.folder import Folder
    from core.datasets.readers.nyuv2 import NYUv2, NYUv2Mat
    from core.datasets.readers.opensurfaces import OpenSurfaces
    from tests.datasets.files import folder_tree
    from tests.datasets.readers.test_ade20k import benchmark, packed, release_2016
    from tests.datasets.readers.test_broden import broden_tree
    from tests.datasets.readers.test_coco import panoptic_tree, stuff_tree
    from tests.datasets.readers.test_nyuv2 import nyu_tree
    from tests.datasets.readers.test_nyuv2_mat import published
    from tests.datasets.readers.test_opensurfaces import release
    from tests.datasets.test_instances import INNER, LEFT, one, region

    def ade20k(root: Path) -> Iterable[str]:
        from tests.datasets.files import save, write
        from tests.datasets.readers.test_ade20k import Region, json_text

        yield f"ade20k:{release_2016(root / '2016')}"
        stem = root / "2021/images/ADE/training/urban/inn__outdoor/ADE_train_00000009"
        save(stem.with_suffix(".jpg"), picture(40, 30))
        labels = np.array([[3000, 1, 0, 1]] * 3).repeat(10, 0).repeat(10, 1)
        save(Path(f"{stem}_seg.png"), packed(labels))
        rows = [Region(0, "wall", 1), Region(0, "door, gate", 3000)]
        write(stem.with_suffix(".json"), json_text(rows))
        yield f"ade20k:{root / '2021'}"

    def mat(root: Path) -> Iterable[str]:
        published(root)
        yield f"nyuv2:{root}"

    def instances(root: Path) -> Iterable[str]:
        yield f"coco:{one(root, [region(1, [LEFT]), region(2, [INNER])])}"

    return {
        ADE20K: ade20k,
        ADE150: lambda root: [f"ade150:{benchmark(root)}"],
        Broden: lambda root: [f"broden:{broden_tree(root)}"],
        Coco: lambda root: [
            f"coco:{panoptic_tree(root / 'panoptic')}",
            f"coco:{stuff_tree(root / 'stuff')}",
        ],
        Instances: instances,
        Folder: lambda root: [f"folder:{folder_tree(root)}"],
        NYUv2: lambda root: [f"nyuv2:{nyu_tree(root)}"],
        NYUv2Mat: mat,
        OpenSurfaces: lambda root: [f"opensurfaces:{release(root)}"],
    }


def all_readers() -> set[type]:
    """Every class that reads a dataset from files; `rooms` is drawn, and has its own version."""
    from core.datasets import readers as package
    from core.datasets.base import SceneDataset

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    found: set[type] = set()
    waiting: list[type] = [SceneDataset]
    while waiting:
        below = waiting.pop().__subclasses__()
        below = [one for one in below if one.__module__.startswith("core.")]
        waiting += below
        found |= {one for one in below if not getattr(one, "__abstractmethods__", None)}
    return {one for one in found if not one.__module__.startswith("core.rooms")}


def world(_: Inputs) -> Any:
    """SHA-256 of one photo a scene of `rooms`, and of its masks as names."""
    from core.rooms import SCENES
    from core.rooms.dataset import draw_picture

    out = {}
    for scene in SCENES:
        drawn_ = draw_picture(7, scene, "val", 0)
        out[scene] = {"rgb": hashlib.sha256(drawn_.rgb.tobytes()).hexdigest()}
        for kind in ("object", "part", "material"):
            names = np.array(drawn_.names[kind], object)[getattr(drawn_, kind)]
            text = "\n".join(names.ravel())
            out[scene][kind] = hashlib.sha256(text.encode()).hexdigest()
    return out


def planting(_: Inputs) -> Any:
    """Where each thing stands in a scene and of what solids it is; SHA-256 of one photo."""
    from core.rooms import SCENES
    from core.rooms.dataset import build_world
    from core.rooms.plant import THINGS, draw_planted, planted_world

    out: dict[str, Any] = {}
    for thing, scene in zip(THINGS, SCENES, strict=False):
        plain = len(build_world(7, scene, "val", 0)._prims)
        solids = planted_world(thing, 7, scene, "val", 0)._prims[plain:]
        out[thing] = np.array(solids, np.float64)
    photo = draw_planted("orange cone", 7, "farm", "val", 0).rgb
    return {**out, "photo": hashlib.sha256(photo.tobytes()).hexdigest()}


# -- the list -----------------------------------------------------------------------------------

_COMPUTATIONS: dict[str, tuple[Callable[[Inputs], Any], tuple[str, ...], float]] = {
    "planting": (planting, ("rooms.plant", "rooms.held"), CLOSE),
    "decoding": (
        decoding,
        ("datasets.decode", "datasets.loader", "foundation.geometry"),
        CLOSE,
    ),
    "dissection": (
        dissection,
        (
            "dissect.plan",
            "dissect.passes",
            "dissect.chance",
            "dissect.publish",
            "dissect.pipeline",
            "dissect.counts",
            "dissect.thresholds",
            "dissect.labels",
            "dissect.significance",
            "datasets.scenes",
            "models.forward",
            "models.hooks",
            "models.outputs",
            "models.untrained",
            "foundation.intervals",
        ),
        TRAINED,
    ),
    "replay": (
        replay,
        (
            *(
                f"ablation.{module}"
                for module in (
                    "edits",
                    "kernels",
                    "forward",
                    "subject",
                    "closed_form",
                    "replay",
                    "strategies",
                    "toggler",
                )
            ),
            "models.head",
            "models.forward",
        ),
        TRAINED,
    ),
    "effects": (
        effects,
        tuple(
            f"attribution.{module}"
            for module in ("regions", "fillings", "case", "effects", "evidence", "measured")
        ),
        TRAINED,
    ),
    "causes": (caused, ("attribution.account",), TRAINED),
    "truth": (
        truth,
        tuple(
            f"attribution.{module}"
            for module in (
                "methods",
                "accounts",
                "controls",
                "gradients",
                "occlusion",
                "sampled",
                "redrawn",
                "judged",
                "truth",
            )
        ),
        TRAINED,
    ),
    "signatures": (signatures_, ("dissect.signatures", "dissect.signature_kernels"), CLOSE),
    "formulas": (
        formulas,
        (
            "dissect.formula",
            "dissect.formula_kernels",
            "dissect.formula_search",
            "dissect.formulas",
        ),
        CLOSE,
    ),
    "unit map": (unit_map, ("views.unit_map",), TRAINED),
    "embedding": (embedding, ("merging.embed",), TRAINED),
    "merging": (merging, ("merging.fuse", "merging.gain"), CLOSE),
    "explanation": (
        explanation,
        ("explain.learned", "explain.metrics", "explain.account", "explain.photo"),
        TRAINED,
    ),
    "core concepts": (
        core_concepts,
        ("knowledge.graph", "knowledge.triples", "knowledge.align", "knowledge.core_concepts"),
        CLOSE,
    ),
    "ablation": (
        ablation,
        (
            "ablation.contribution",
            "ablation.protocols",
            "ablation.curves",
            "ablation.search",
            "ablation.kernels",
        ),
        TRAINED,
    ),
    "labels": (
        unit_labels_scored,
        tuple(
            f"labelling.{module}"
            for module in (
                "label",
                "probe",
                "methods",
                "linear",
                "invert",
                "simulation",
                "causal",
            )
        ),
        TRAINED,
    ),
    "encoding": (
        encoded,
        ("labelling.similarity", "labelling.encoders", "labelling.conse", "labelling.clip_model"),
        TRAINED,
    ),
    "dictionary": (
        dictionaries,
        (
            *(f"dictionary.{name}" for name in ("cells", "make", "measure", "stability", "train")),
            "models.dictionary",
        ),
        TRAINED,
    ),
    "graphs": (
        graphs_asked,
        tuple(f"graphs.{name}" for name in ("distil", "judge", "masked", "network", "scg", "why")),
        TRAINED,
    ),
    "concept vectors": (
        vectors_learned,
        tuple(
            f"directions.{name}"
            for name in (
                "ace",
                "cav",
                "conceptshap",
                "layer",
                "naming",
                "patches",
                "shapley",
                "vectors",
            )
        ),
        TRAINED,
    ),
    "reliance": (
        reliance,
        tuple(
            f"attribution.{module}"
            for module in ("chance", "failure", "labels", "mistakes", "reliance")
        ),
        CLOSE,
    ),
    "SVM": (svm, ("retrain.svm",), TRAINED),
    "re-training": (
        retraining,
        tuple(
            f"retrain.{module}"
            for module in ("concepts", "data", "network", "plan", "trainer", "training")
        ),
        TRAINED,
    ),
    "tables": (tables, ("paper.tables",), CLOSE),
    "figures": (
        drawn,
        (
            "figures.base",
            "figures.export",
            "figures.runs",
            "figures.units",
            "figures.contents",
            "figures.disable",
            "figures.retrain",
        ),
        CLOSE,
    ),
}


def computations() -> dict[str, Computation]:
    """Everything that is guarded, by name; what :data:`VERSIONS` has besides is missing here."""
    out = {
        name: Computation(
            results,
            tuple(f"core.{module}" for module in modules),
            lambda name=name: VERSIONS.get(name, 0),  # type: ignore[misc]
            f"raise VERSIONS[{name!r}] (core/foundation/versions.py)",
            close,
        )
        for name, (results, modules, close) in _COMPUTATIONS.items()
    }
    for reader, write in readers().items():

        def read(given: Inputs, write: Callable[[Path], Iterable[str]] = write) -> Any:
            return [dataset_facts(spec) for spec in write(given.folder("reader"))]

        out[f"reader {reader.__name__}"] = Computation(
            read,
            (reader.__module__,),
            lambda reader=reader: int(reader.VERSION),  # type: ignore[misc]
            f"raise {reader.__name__}.VERSION",
        )
    drawing = [f"core.rooms.drawing.{m}" for m in ("colors", "furniture", "indoor", "outdoor")]
    drawing += [f"core.rooms.drawing.{m}" for m in ("outdoor_kit", "outdoor_things", "tracer")]
    out["WORLD"] = Computation(
        world,
        ("core.rooms.dataset", *drawing),
        lambda: WORLD,
        "the drawn world is frozen (its network was trained on these photos): draw a new one, with "
        "WORLD raised,",
    )
    return out


def main(
    arguments: Sequence[str] | None = None,
    listed: Mapping[str, Computation] | None = None,
    file: Path = FILE,
) -> int:
    """Compare, or record; returns 0, or 1 where something changed that may not be recorded.

    listed, file : what is guarded and where it is recorded, :func:`computations` where None.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write down what may be recorded")
    given = parser.parse_args(arguments)
    listed = computations() if listed is None else listed
    with tempfile.TemporaryDirectory() as root:
        inputs = Inputs(Path(root))
        made = {name: now(one, inputs) for name, one in listed.items()}
    held = recorded(file)
    said = []
    for name, one in listed.items():
        wrong, _ = judge(name, one, held["computations"].get(name), made[name])
        said += [wrong] if wrong else []
    if given.record:
        refused = record(listed, made, file)
        if refused:
            hint = other_packages(held["packages"])
            print("\n".join(filter(None, [*refused, hint, "Nothing was recorded."])))
            return 1
        print("\n".join([*said, f"recorded: {file.name}"]) if said else "nothing changed")
        return 0
    print("\n".join(said) or f"{len(listed)} computations give what is recorded")
    return int(bool(said))


if __name__ == "__main__":
    # As a module of its own name, so that `python:tests.golden:exact` names the same classes.
    from tests import golden

    sys.exit(golden.main())
