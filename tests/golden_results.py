"""Golden computations on a small run: what each gives on the input of tests/golden_inputs.py.

The guard that compares it with what is recorded is tests/golden.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from core.foundation.geometry import Preprocessing
from tests.golden_inputs import Inputs, picture


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
    from core.ablation.protocols import RANKINGS, Disabled
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
            frame = curve(study, Disabled(ranking, "negative", protocol), at=[1, 3], seeds=2)
            out[f"curve {ranking} {protocol}"] = frame[kept]
    out["cross-fitted"] = cross_fitted(study, Disabled("scc", "positive"), at=[2], repeats=2)[kept]
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
