"""Knowledge at real size: how fast, and how much a graph knows of ADE20K.

    python -m benchmarks.core_concepts [--knowledge SPEC] [--lines N] [--out DIR] [--json]

* core concepts (top 10, SCC, ICC) timed on drawn annotations of ADE20K's size: its 22,210
  images with their real scenes, 1,105 drawn concepts;
* the alignment of ADE20K's scene names and of the 150 labels of the scene-parsing benchmark
  with a graph, by kind, and RC(y, G) ∩ labels: how many scenes get none, one, many;
* the ConceptNet reader on a generated file in the published format (``--lines``, 0 leaves it
  out), and neighbourhoods of the busiest nodes in it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from core.knowledge.align import Aligner, align
from core.knowledge.core_concepts import (
    Annotated,
    coverage,
    identifier_core_concepts,
    identifying_percentage,
    related_concepts,
    scoping_core_concepts,
    top_k_concepts,
)
from core.knowledge.graph import Edge, Graph
from core.knowledge.kinds import open_knowledge

DATA = Path(os.environ.get("UNITSCOPE_DATA", Path(__file__).resolve().parents[2] / "shared/data"))
CONCEPTS = 1105
PUBLISHED_LINES = 34_074_917
"""Lines of the ConceptNet 5.7 assertions file."""


def timed(work: Callable[[], Any], times: int = 3) -> tuple[Any, float]:
    """(result, seconds of the quickest of a few calls)."""
    best, result = float("inf"), None
    for _ in range(times):
        began = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - began)
    return result, best


# -- ADE20K ----------------------------------------------------------------------------------


def scenes_of_images() -> tuple[list[str], np.ndarray]:
    """(scene names, int32 scene of each image) of the 22,210 images of ADE20K."""
    cells = (DATA / "ade20k" / "sceneCategories.txt").read_text(encoding="utf-8").split()[1::2]
    names = sorted(set(cells))
    where = {name: k for k, name in enumerate(names)}
    return names, np.array([where[name] for name in cells], np.int32)


def labels_150(graph: Graph) -> list[str]:
    """The 150 labels with their synonyms, parted by commas again.

    The table writes ``chest;of;drawers;chest;bureau``: words and synonyms alike parted by
    semicolons. The longest run of words that is cleanly a node is taken for one synonym.
    """
    clean = Aligner(graph).clean
    out = []
    with (DATA / "ade20k" / "objectInfo150.csv").open(encoding="utf-8") as f:
        for row in csv.DictReader(f):
            words, parts = row["Name"].split(";"), []
            while words:
                runs = [k for k in range(min(4, len(words)), 1, -1) if clean(" ".join(words[:k]))]
                take = runs[0] if runs else 1
                parts.append(" ".join(words[:take]))
                words = words[take:]
            out.append(", ".join(dict.fromkeys(parts)))
    return out


def drawn(names: list[str], scene_of: np.ndarray, seed: int = 0) -> Annotated:
    """Annotations like ADE20K's: about 20 of 1,105 concepts an image, few of them everywhere,
    most of them rare; every scene has some of its own."""
    rng = np.random.default_rng(seed)
    popular = 1 / (np.arange(CONCEPTS) + 3.0)
    row, column = [], []
    for scene in range(len(names)):
        images = np.flatnonzero(scene_of == scene)
        liking = popular * rng.gamma(0.3, 1 / 0.3, CONCEPTS)
        chance = np.minimum(liking / liking.sum() * 22, 0.97)
        image, concept = np.nonzero(rng.random((len(images), CONCEPTS)) < chance)
        row.append(images[image])
        column.append(concept)
    at, of = np.concatenate(row), np.concatenate(column)
    has = sparse.csr_array((np.ones(len(at), bool), (at, of)), shape=(len(scene_of), CONCEPTS))
    concepts = [f"concept {k}" for k in range(CONCEPTS)]
    return Annotated(names, concepts, ["object"] * CONCEPTS, scene_of, has)


def time_core_concepts() -> dict[str, Any]:
    """Seconds of every step at ADE20K's size, and of the search on its worst case."""
    names, scene_of = scenes_of_images()
    annotated = drawn(names, scene_of)
    rng = np.random.default_rng(1)
    fact = [Edge("AtLocation", "concept", "scene", 1.0)]
    related = [
        dict.fromkeys(sorted(rng.choice(CONCEPTS, rng.integers(0, 80), replace=False)), fact)
        for _ in names
    ]
    out: dict[str, Any] = {
        "images": len(scene_of),
        "scenes": len(names),
        "concepts": CONCEPTS,
        "annotations": int(annotated.has.nnz),
    }

    def frequency() -> np.ndarray:
        annotated.__dict__.pop("frequency", None)
        return annotated.frequency

    _, out["frequency_s"] = timed(frequency)
    _, out["top10_s"] = timed(lambda: top_k_concepts(annotated))
    _, out["scc_s"] = timed(lambda: scoping_core_concepts(annotated, related))
    icc, out["icc_s"] = timed(lambda: identifier_core_concepts(annotated, related))
    out["breakpoints"] = len(icc.count_search.breakpoints)
    out["p_c"], out["p_sc"], out["distinct"] = icc.p_c, icc.p_sc, icc.distinct
    out["colliding_scenes"] = sum(map(len, icc.collisions))
    full = np.random.default_rng(2).random((900, 1100))
    _, out["worst_case_900x1100_search_s"] = timed(
        lambda: identifying_percentage(full, np.ones((1, 1100), bool), np.ones(900, bool))
    )
    return out


def ade20k_coverage(graph: Graph) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """(figures, scenes, labels): what a graph knows of ADE20K's names."""
    names, scene_of = scenes_of_images()
    labels = labels_150(graph)
    aligned = align(labels, graph)
    began = time.perf_counter()
    frame = coverage(names, labels, graph)
    seconds = time.perf_counter() - began
    frame["images"] = np.bincount(scene_of, minlength=len(names))
    many = frame["concepts"]
    groups = {"none": many == 0, "one": many == 1, "2-9": many.between(2, 9), "10+": many >= 10}
    figures = {
        "graph": graph.name,
        "nodes": len(graph.nodes),
        "edges": len(graph),
        "scene_kinds": frame["kind"].value_counts().to_dict(),
        "label_kinds": aligned["kind"].value_counts().to_dict(),
        "scenes_by_concepts": {k: int(v.sum()) for k, v in groups.items()},
        "images_by_concepts": {k: int(frame.loc[v, "images"].sum()) for k, v in groups.items()},
        "coverage_s": round(seconds, 3),
    }
    annotated = Annotated(
        names,
        labels,
        ["object"] * len(labels),
        np.zeros(0, np.int32),
        sparse.csr_array((0, len(labels)), dtype=bool),
    )
    for hops in (1, 2):
        related, seconds = timed(lambda hops=hops: related_concepts(annotated, graph, hops=hops), 1)
        figures[f"related_{hops}_hop_s"] = round(seconds, 3)
        figures[f"related_{hops}_hop_median"] = int(np.median([len(r) for r in related]))
    return figures, frame, aligned


# -- ConceptNet ------------------------------------------------------------------------------


def write_assertions(path: Path, lines: int, seed: int = 0) -> None:
    """Lines in the published format: a tenth English on both sides, as published, 290 bytes each,
    names of one to three words, half of them drawn evenly and half by a power law."""
    rng = np.random.default_rng(seed)
    # As published: about 25 lines for every English node, most of which occur once or twice.
    nodes = max(lines // 12, 1000)
    languages = np.array(["fr", "de", "ja", "zh", "es", "ru", "pt", "la", "it", "fi"])
    senses = ["", "", "/n", "/v", "/a", "/n/wn/artifact"]
    relations = ["RelatedTo", "RelatedTo", "FormOf", "Synonym", "IsA", "AtLocation", "UsedFor"]
    with path.open("w", encoding="utf-8") as f:
        for first in range(0, lines, 50_000):
            n = min(50_000, lines - first)
            kind = rng.random(n)
            rare = rng.integers(1, nodes, (n, 2))
            common = np.minimum(rng.pareto(0.6, (n, 2)) * 40, nodes)
            node = np.where(rng.random((n, 2)) < 0.5, rare, common)
            pick = rng.integers(0, 1 << 30, (n, 4))
            rows = []
            for k in range(n):
                other = languages[pick[k, 0] % 10]
                a = "en" if kind[k] < 0.16 else other
                b = "en" if kind[k] < 0.10 or kind[k] > 0.9 else other
                ends = [
                    f"/c/{lang}/{'_'.join(['thing', str(int(x)), 'of'][: 2 + int(x) % 2])}"
                    f"{senses[p % 6]}"
                    for lang, x, p in zip((a, b), node[k], pick[k, 1:3], strict=True)
                ]
                relation = f"/r/{relations[pick[k, 3] % 7]}"
                rows.append(
                    f"/a/[{relation}/,{ends[0]}/,{ends[1]}/]\t{relation}\t{ends[0]}\t{ends[1]}\t"
                    f'{{"dataset": "/d/wiktionary/{a}", "license": "cc:by-sa/4.0", "sources": '
                    f'[{{"contributor": "/s/resource/wiktionary/{a}", "process": '
                    f'"/s/process/wikiparsec/2"}}], "weight": {(pick[k, 3] % 8 + 1) / 2}}}\n'
                )
            f.write("".join(rows))


def time_conceptnet(lines: int) -> dict[str, Any]:
    """Lines a second of the reader, reopening, and neighbourhoods of the busiest nodes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "assertions.csv"
        write_assertions(path, lines)
        size = path.stat().st_size
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        spec = f"conceptnet:{path}"
        graph, read_s = timed(lambda: open_knowledge(spec, Path(folder) / "cache"), 1)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, again_s = timed(lambda: open_knowledge(spec, Path(folder) / "cache"))
    degree = np.bincount(graph.heads, minlength=len(graph.nodes))
    degree += np.bincount(graph.tails, minlength=len(graph.nodes))
    busy = [graph.nodes[int(k)] for k in np.argsort(-degree)[:20]]
    usual = [graph.nodes[int(k)] for k in np.flatnonzero(degree == 20)[:200]]
    out = {
        "lines": lines,
        "bytes_a_line": round(size / lines),
        "nodes": len(graph.nodes),
        "edges": len(graph),
        "read_s": round(read_s, 2),
        "lines_a_second": round(lines / read_s),
        "published_file_minutes": round(PUBLISHED_LINES / lines * read_s / 60, 1),
        "peak_mb_before_and_after": [before // 1024, after // 1024],
        "reopen_s": round(again_s, 3),
        "busiest_degree": int(degree.max()),
    }
    for what, names in (("busiest", busy), ("degree_20", usual)):
        for hops in (1, 2):
            if names and not (what == "busiest" and hops == 2):
                _, seconds = timed(
                    lambda names=names, hops=hops: [graph.neighbours(x, hops=hops) for x in names],
                    1,
                )
                out[f"neighbours_{what}_{hops}_hop_ms"] = round(1000 * seconds / len(names), 2)
    some = usual[:50]
    _, seconds = timed(lambda: [graph.neighbours(x, hops=2, among=some) for x in busy], 1)
    out["neighbours_busiest_2_hop_among_50_ms"] = round(1000 * seconds / len(busy), 2)
    return out


def main() -> None:
    """Run all parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--knowledge", default=f"triples:{DATA / 'conceptnet' / 'CN-100K'}")
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--out", type=Path, help="folder for the alignment tables as CSV")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    told: dict[str, Any] = {"core_concepts": time_core_concepts()}
    graph = open_knowledge(given.knowledge)
    told["coverage"], scenes, labels = ade20k_coverage(graph)
    if given.lines:
        told["conceptnet"] = time_conceptnet(given.lines)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        scenes.to_csv(given.out / "ade20k_scenes.csv", index=False)
        labels.to_csv(given.out / "ade20k_labels.csv", index=False)
    if given.json:
        print(json.dumps(told))
        return
    for part, figures in told.items():
        print(part)
        for name, value in figures.items():
            shown = f"{value:.4f}" if isinstance(value, float) else value
            print(f"  {name:40} {shown}")


if __name__ == "__main__":
    main()
