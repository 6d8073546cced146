"""Golden results: every computation of `core.foundation.versions` on small fixed input.

``python -m tests.golden`` compares with tests/golden.json; ``--record`` (``make golden``) records
what changed as it may: a computation whose version was raised, or whose code changed while its
results did not. Changed results under an unchanged version are refused.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from core.foundation.errors import allow_empty
from core.foundation.versions import VERSIONS, WORLD
from tests import tiny
from tests.golden_data import dataset_facts, planting, readers, world
from tests.golden_inputs import Inputs
from tests.golden_results import (
    ablation,
    caused,
    core_concepts,
    decoding,
    dictionaries,
    dissection,
    drawn,
    effects,
    embedding,
    encoded,
    explanation,
    formulas,
    graphs_asked,
    merging,
    reliance,
    replay,
    retraining,
    signatures_,
    svm,
    tables,
    truth,
    unit_labels_scored,
    unit_map,
    vectors_learned,
)

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


# -- the network of the runs -------------------------------------------------------------------


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
