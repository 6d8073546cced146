"""Verbs about merging concepts: embeddings of the graph, clusters, and what Tables 2, 3, 5 need."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import (
    COUNT,
    SEED,
    Answer,
    Verb,
    add_engine,
    add_knowledge,
    add_run,
    crew_of,
    numbers,
    open_given,
    say,
    show_progress,
    stoppable,
)
from core.foundation.errors import UnitscopeError
from core.foundation.plain import Json

if TYPE_CHECKING:
    from core.knowledge.graph import Graph
    from core.merging.fuse import Space, Vectors
    from core.paper.tables import Table
    from core.runs.run_file import Run


def add(verb: Verb) -> None:
    """embed, cluster."""
    embed = verb("embed", _embed, "Train embeddings of the graph around a run's concepts.")
    add_run(embed)
    embed.add_argument(
        "--embedding",
        "--model",
        action="append",
        metavar="NAME",
        help="TransE, DistMult, TransD or ProjE; all where left out",
    )
    for name, kind, text in (
        ("dim", int, "length of a vector"),
        ("epochs", int, "at most"),
        ("batch", int, "facts a step"),
        ("rate", float, "learning rate"),
        ("negatives", int, "drawn facts for each true one"),
        ("patience", int, "epochs without a smaller loss after which training ends"),
        ("seed", int, "of held-out facts, first vectors and their order"),
    ):
        embed.add_argument(f"--{name}", type=kind, help=text)
    add_engine(embed, "the embeddings", "one embedding at a time")
    add_knowledge(embed)
    cluster = verb("cluster", _cluster, "Concepts that mean nearly the same, in k groups.")
    add_run(cluster)
    cluster.add_argument("--k", type=COUNT, required=True, help="groups in all")
    cluster.add_argument("--scene", help="the concepts of one scene, C_y; all where left out")
    cluster.add_argument("--embedding", default="TransE", metavar="NAME", help="or `words`")
    cluster.add_argument("--seed", type=SEED, default=0, help="of k-means")
    cluster.add_argument(
        "--write", type=Path, metavar="FILE", help="the merges, to edit and give back as --links"
    )
    add_clustering(cluster)
    add_knowledge(cluster)


def add_clustering(sub: argparse.ArgumentParser) -> None:
    """How concepts are put into groups."""
    sub.add_argument("--method", default="agglomerative", choices=["agglomerative", "kmeans"])
    sub.add_argument(
        "--links",
        type=Path,
        metavar="FILE",
        help="lines `merge`, a, b or `keep_apart`, a, b: merges forced and forbidden",
    )


def _space(run: Run, given: argparse.Namespace) -> tuple[Graph, Space]:
    from core.knowledge.kinds import open_knowledge
    from core.merging.fuse import Space

    graph = open_knowledge(given.knowledge or run.own_knowledge)
    return graph, Space(run, graph, given.overrides)


def _embed(given: argparse.Namespace) -> Answer:
    from core.merging.embed import MODELS, training
    from core.merging.fuse import train_spread

    crew = crew_of(given)
    run = open_given(given)
    _, space = _space(run, given)
    say(str(space.sub))
    names = ("dim", "epochs", "batch", "rate", "negatives", "patience", "seed")
    hows = [
        training(model, **{name: getattr(given, name) for name in names})
        for model in given.embedding or MODELS
    ]
    facts: list[Json] = []
    lines = [str(space.sub), ""]
    lines.append(
        f"{'':10}{'epochs':>7}{'loss':>9}{'MRR':>8}{'(untrained)':>12}{'Hits@10':>9}{'(untrained)':>12}"
    )
    with stoppable() as stop:
        if crew:
            spec = given.knowledge or run.own_knowledge
            train_spread(run, spec, given.overrides, hows, crew, show_progress, stop)
        for how in hows:
            made = space.embedding(how, show_progress, stop)
            trained, untrained = made.quality["trained"], made.quality["untrained"]
            took = "made before" if made.seconds is None else f"{made.seconds:.0f} s"
            lines.append(
                f"{how.model:10}{len(made.losses):7d}{made.losses[-1]:9.4f}{trained['MRR']:8.4f}"
                f"{untrained['MRR']:12.4f}{trained['hits_10']:9.4f}{untrained['hits_10']:12.4f}"
                f"  {took}"
            )
            facts.append(
                {
                    "embedding": how.model,
                    "digest": made.digest,
                    "training": asdict(how),
                    "epochs": len(made.losses),
                    "loss": float(made.losses[-1]),
                    "quality": made.quality,
                    "seconds": made.seconds,
                }
            )
    asked = facts[0]["quality"]["facts"]
    lines += ["", f"Filtered ranks among all entities, on {asked} facts that were held out."]
    return {"knowledge": space.sub.knowledge, "sizes": space.sub.sizes, "embeddings": facts}, (
        "\n".join(lines)
    )


def _vectors(space: Space, name: str) -> Vectors:
    with stoppable() as stop:
        return space.vectors(name, show_progress, stop)


def _cluster(given: argparse.Namespace) -> Answer:
    from core.merging.fuse import cluster, describe, read_links, write_links

    run = open_given(given)
    graph, space = _space(run, given)
    links = read_links(given.links, space.annotated) if given.links else None
    if given.scene:
        members, frequency = space.scene(given.scene)
    else:
        members, frequency = space.members, space.images
    vectors = _vectors(space, given.embedding)
    groups = cluster(vectors, members, given.k, given.method, links, given.seed)
    frame = describe(groups, vectors, frequency, space.labels)
    if given.write is not None:
        write_links(groups, vectors, frequency, space.labels, given.write)
        say(f"wrote {given.write}: edit it and give it back with --links")
    merged = frame[frame["size"] > 1]
    of = (
        f"the {len(members)} concepts of {given.scene}"
        if given.scene
        else f"{len(members)} concepts"
    )
    lines = [
        f"{len(groups)} groups of {of}, {given.method}, {vectors.name} on {graph.name}; "
        f"{len(merged)} have several members",
        "",
        *(f"{r.distance:7.3f}  {r.members}" for r in merged.itertuples()),
    ]
    return {
        "k": len(groups),
        "concepts": len(members),
        "method": given.method,
        "embedding": vectors.name,
        "knowledge": graph.name,
        "scene": given.scene,
        "groups": [
            {
                "representative": r.representative,
                "distance": r.distance,
                "widest": r.widest,
                "members": [space.labels[c] for c in r.concepts],
            }
            for r in frame.itertuples()
        ],
    }, "\n".join(lines)


def merged_concepts(run: Run, given: argparse.Namespace) -> dict[int, int]:
    """Concept id → id of its group's representative, for those that are merged into another."""
    from core.merging.fuse import cluster, mapping, read_links

    _, space = _space(run, given)
    links = read_links(given.links, space.annotated) if given.links else None
    vectors = _vectors(space, given.embedding)
    groups = cluster(vectors, space.members, given.k, given.method, links)
    # Concepts are counted from 0 in groups and from 1 in the run's table.
    to = mapping(groups, space.images)
    return {c + 1: int(r) + 1 for c, r in enumerate(to) if r != c}


def filtered_table(run: Run, graph: Graph, given: argparse.Namespace) -> Table:
    """Table 2, 3 or 5, embeddings trained where they are not there yet."""
    from core.merging.embed import MODELS
    from core.merging.fuse import Space, read_links
    from core.merging.gain import Grouping, run_gain
    from core.paper.tables import Filtering, table_5, tables_2_and_3

    if given.table != 5:
        run.need_answers(f"table {given.table}")  # fails before embeddings are trained
    space = Space(run, graph, given.overrides)
    links = read_links(given.links, space.annotated) if given.links else None
    ks = numbers(given.k)
    if given.table == 5:
        curves = {}
        with stoppable() as stop:
            for name in given.embedding or MODELS:
                vectors = space.vectors(name, show_progress, stop)
                curves[vectors.name] = run_gain(
                    run,
                    space,
                    vectors,
                    Grouping(ks, given.method, links, given.seed),
                    given.layer,
                    given.split,
                    progress=show_progress,
                    stop=stop,
                )
        return table_5(run, graph, curves, given.method, given.split, given.layer)
    if given.embedding and len(given.embedding) > 1:
        raise UnitscopeError(f"table {given.table} is of one embedding")
    if ks and len(ks) > 1:
        raise UnitscopeError(f"table {given.table} is of one number of groups")
    vectors = _vectors(space, given.embedding[0] if given.embedding else "TransE")
    k = ks[0] if ks else max(1, round(len(space.members) / 2))
    pair = tables_2_and_3(
        run,
        graph,
        space,
        vectors,
        Filtering(
            k,
            given.method,
            links,
            given.split,
            given.iou,
            given.layer,
            seed=given.seed,
            overrides=given.overrides,
        ),
    )
    return pair[given.table - 2]
