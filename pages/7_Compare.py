"""Compare: networks, layers and runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import streamlit as st

from core.figures import compare as drawn
from core.figures.base import COUNTING, Caption
from core.figures.disable import dumbbells
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.settings import judged_split
from core.runs.run_file import Run
from core.runs.store import list_runs
from core.views import benches, compare
from core.views import runs as run_views
from core.views.pictures import thumbnail
from core.views.runs import cache_root, summary
from core.views.units import detected
from pages.parts import address, draw, explanations
from pages.parts import labels as label_part
from pages.parts.cache import ask, open_run, picture
from pages.parts.frame import Context, given_names, page, page_files, sentence, unanswered

# As many as there are colours that stay apart for colour-blind readers.
MOST = len(drawn.SIDES)

# Photos of each kind shown before the table.
SHOWN = 6


class Side(NamedTuple):
    """One layer of one run, with the name it has on this page and what is known of it."""

    run: Run
    layer: str
    name: str
    facts: compare.SideFacts


def everything(root: Path) -> dict[str, tuple[Run, str, str]]:
    """Key (digest:layer) → run, layer, name, of all that can be compared; newest first."""
    found: dict[str, tuple[Run, str, str]] = {}
    names = given_names(root)
    for path in list_runs(root):
        try:
            run = open_run(path)
            facts = ask(summary, run)
        except Exception:  # a damaged file; the page Runs tells of it
            continue
        for layer in [row.name for row in facts.layers] or [""]:
            own = names.of(path.stem)
            words = (own, layer) if own else (facts.dataset, facts.model, layer)
            name = " · ".join(word for word in words if word)
            found[f"{path.stem}:{layer}"] = (run, layer, name)
    return found


def apart_names(options: dict[str, tuple[Run, str, str]], keys: Sequence[str]) -> list[str]:
    """The names of some of the options, with the run's digest where two have one name."""
    names = [options[key][2] for key in keys]
    return [
        f"{name} · {options[key][0].digest[:6]}" if names.count(name) > 1 else name
        for key, name in zip(keys, names, strict=True)
    ]


def choose(ctx: Context, options: dict[str, tuple[Run, str, str]]) -> list[str]:
    """The sides, from the address; at first this run and what is most like it."""
    own = f"{ctx.run.digest}:{ctx.layer}"

    def likeness(key: str) -> tuple[bool, bool]:
        run = options[key][0]
        same = run.settings.dataset.digest
        mine = ctx.run.settings.dataset.digest
        return run.digest == ctx.run.digest, same == mine

    others = sorted((k for k in options if k != own), key=likeness, reverse=True)
    usual = [own, *others[:1]]
    names = dict(zip(options, apart_names(options, list(options)), strict=True))
    return address.several(
        "sides",
        "What to compare",
        list(options),
        ("pair", "which"),
        usual,
        format_func=names.get,
        max_selections=MOST,
        placeholder="Choose two or more layers or runs",
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the parts that all of them share.

    >>> short_names(["nyuv2 · resnet18 · layer3", "nyuv2 · resnet18 · layer4"])
    ['layer3', 'layer4']
    """
    parts = [name.split(" · ") for name in names]
    if len({len(p) for p in parts}) > 1:
        return list(names)
    differ = [k for k in range(len(parts[0])) if len({p[k] for p in parts}) > 1]
    return [" · ".join(p[k] for k in differ) or name for p, name in zip(parts, names, strict=True)]


def caption(ctx: Context, sides: Sequence[Side], units: bool = True, split: str = "") -> Caption:
    """What a figure of all sides was measured on; `split` where only one counts."""
    datasets = list(dict.fromkeys(side.facts.dataset for side in sides))
    networks = list(dict.fromkeys(side.facts.model for side in sides))
    key = "images" if units else "scored"
    images = list(dict.fromkeys(f"{getattr(side.facts, key):,}" for side in sides))
    layers = list(dict.fromkeys(side.layer for side in sides if side.layer))
    shown = f"{' and '.join(images)} images" + (f", split {split}" if split else "")
    return Caption(
        " and ".join(datasets),
        " and ".join(networks),
        " and ".join(layers) if units else "",
        COUNTING[ctx.denominator] if units else "",
        shown,
    )


def at_a_glance(ctx: Context, sides: Sequence[Side]) -> None:
    """One row a side, and what is not alike between them."""
    rows = pd.DataFrame(
        {
            "side": [s.name for s in sides],
            "accuracy": [s.facts.accuracy for s in sides],
            "n": [s.facts.scored for s in sides],
            "units": [s.facts.units for s in sides],
            "better than chance": [s.facts.above for s in sides],
            "masks exchanged": [s.facts.by_chance for s in sides],
            "untrained network": [s.facts.untrained for s in sides],
            "median IoU": [s.facts.median_iou for s in sides],
            "concepts detected": [s.facts.concepts for s in sides],
            "photos": [s.facts.images for s in sides],
            "dataset": [s.facts.dataset for s in sides],
            "network": [s.facts.model for s in sides],
            "layer": [s.layer or "none" for s in sides],
        }
    )
    draw.table(
        rows,
        "compare",
        "What is compared: accuracy, units, concepts detected, photos",
        caption=" / ".join(caption(ctx, sides).lines()),
        column_config={
            "accuracy": st.column_config.NumberColumn(format="percent", help=explanations.ACCURACY),
            "n": st.column_config.NumberColumn(
                format="localized", help="Photos that accuracy is of."
            ),
            "median IoU": st.column_config.NumberColumn(format="%.4f", help=explanations.IOU),
            "photos": st.column_config.NumberColumn(format="localized"),
            "better than chance": st.column_config.NumberColumn(help=explanations.CHANCE),
            "masks exchanged": st.column_config.NumberColumn(
                format="%.1f", help=explanations.UNTRAINED
            ),
            "untrained network": st.column_config.NumberColumn(help=explanations.UNTRAINED),
            "concepts detected": st.column_config.NumberColumn(help=explanations.DETECTED),
        },
    )
    unlike = compare.differing([side.facts for side in sides])
    said = {
        "dataset_digest": "photos",
        "splits": "splits",
        "q": "thresholds (q)",
        "grid": "working grids",
        "shuffles": "rounds of shuffled labels",
    }
    if unlike:
        st.markdown(
            f":orange[:material/balance:] They also differ in their "
            f"{', '.join(said[name] for name in unlike)}, not in the network alone."
        )


def two_shares(ctx: Context, sides: Sequence[Side], split: str) -> None:
    """Accuracy, and units better than chance, with intervals."""
    left, right = st.columns(2, gap="large")
    scored = [s for s in sides if s.facts.scored]
    # Layers of one run share its accuracy: once is enough.
    runs = {s.run.digest: s for s in scored}
    if runs:
        frame = pd.DataFrame(
            {
                "side": run_names(list(runs.values())),
                "share": [s.facts.accuracy for s in runs.values()],
                "low": [s.facts.low for s in runs.values()],
                "high": [s.facts.high for s in runs.values()],
                "count": [
                    f"{100 * (s.facts.accuracy or 0):.1f} %  (n = {s.facts.scored:,})"
                    for s in runs.values()
                ],
            }
        )
        with left:
            draw.chart(
                lambda dark: drawn.shares(
                    frame,
                    "Accuracy",
                    "accuracy in percent, with 95 % interval",
                    caption(ctx, list(runs.values()), units=False, split=split),
                    dark,
                ),
                "compare-accuracy",
                "Dots: accuracy of each run with 95 % interval",
                explanations.ACCURACY,
            )
    tested = [s for s in sides if s.facts.above is not None]
    if tested:
        units = pd.DataFrame(
            {
                "side": [s.name for s in tested],
                "share": [s.facts.above_share for s in tested],
                "low": [s.facts.above_low for s in tested],
                "high": [s.facts.above_high for s in tested],
                "count": [f"{s.facts.above:,} of {s.facts.units:,}" for s in tested],
            }
        )
        with right if runs else left:
            draw.chart(
                lambda dark: drawn.shares(
                    units,
                    "Units better than chance",
                    "share of units in percent, with 95 % interval",
                    caption(ctx, tested),
                    dark,
                ),
                "compare-units",
                "Dots: share of units better than chance, with 95 % interval",
                explanations.CHANCE,
            )


def what_they_detect(ctx: Context, sides: Sequence[Side]) -> None:
    """Kinds of concepts, how far the labels reach, and which concepts who detects."""
    sides = [side for side in sides if side.layer]
    if not sides:
        return
    draw.subheader("What their units detect")
    found = {s.name: ask(detected, s.run, s.layer, ctx.denominator) for s in sides}
    kinds = pd.concat(
        [
            frame.groupby("category", as_index=False)
            .agg(concepts=("name", "size"), units=("units", "sum"))
            .assign(side=name)
            for name, frame in found.items()
        ],
        ignore_index=True,
    )
    reach = pd.concat(
        [ask(compare.reach, s.run, s.layer, ctx.denominator).assign(side=s.name) for s in sides],
        ignore_index=True,
    )
    left, right = st.columns(2, gap="large")
    with left:
        if len(kinds):
            draw.chart(
                lambda dark: drawn.categories(kinds, caption(ctx, sides), dark),
                "compare-categories",
                "Bars: number of concepts detected, by category",
                explanations.DETECTED,
            )
        else:
            draw.caption("No unit of theirs is better than chance.")
    with right:
        draw.chart(
            lambda dark: drawn.reach(reach, caption(ctx, sides), dark),
            "compare-reach",
            "Lines: share of units whose label has at least an IoU",
            explanations.REACH,
        )
    if len(kinds):
        concepts(ctx, sides, compare.concepts(found))


def concepts(ctx: Context, sides: Sequence[Side], table: pd.DataFrame) -> None:
    """Which concepts are detected by whom."""
    names = [side.name for side in sides]
    if len(sides) > 1:
        pairs = compare.overlaps(table, names)
        if len(pairs) == 1:
            one = pairs.iloc[0]
            shared = "1 concept** is" if one["shared"] == 1 else f"{one['shared']} concepts** are"
            st.markdown(
                f"**{shared} detected by both, {one['only_first']} by "
                f"{one['first']} alone, {one['only_second']} by {one['second']} alone "
                f"(Jaccard index {one['jaccard']:.2f})."
            )
        else:
            draw.table(
                pairs.rename(
                    columns={
                        "only_first": "only the first",
                        "jaccard": "Jaccard index",
                        "only_second": "only the second",
                    }
                ),
                "compare-overlap",
                "Concepts that both of two detect",
                explanations.JACCARD,
                column_config={"Jaccard index": st.column_config.NumberColumn(format="%.2f")},
            )
        which = address.select(
            "which",
            "Concepts",
            ["", "all", "some"],
            widget=st.segmented_control,
            format_func={"": "all", "all": "detected by each", "some": "not by each"}.get,
        )
        if which:
            table = table[(table["sides"] == len(sides)) == (which == "all")]
    draw.table(
        table.drop(columns="sides"),
        "compare-concepts",
        "Concepts, and how many units of each detect them",
        explanations.DETECTED if len(sides) < 2 else explanations.JACCARD,
        caption=" / ".join(caption(ctx, sides).lines()),
        height=min(38 + 35 * max(1, len(table)), 420),
    )
    draw.caption("Numbers are units, those better than chance where chance was measured.")


def one_a_run(sides: Sequence[Side]) -> list[Side]:
    """Sides, one of each run: layers of one run share its answers."""
    return list({side.run.digest: side for side in sides}.values())


def same_images(ctx: Context, sides: Sequence[Side], split: str) -> None:
    """Two runs on the same photos: which predictions differ."""
    runs = {s.run.digest: s for s in sides if s.facts.scored}
    pairs = [
        (a, b)
        for k, a in enumerate(runs)
        for b in list(runs)[k + 1 :]
        if len(
            compare.met(
                ask(compare.outcomes, runs[a].run, split),
                ask(compare.outcomes, runs[b].run, split),
            )
        )
    ]
    draw.subheader("The same photos")
    for side in one_a_run(sides):
        unanswered(side.run, f"for {side.name}, which photos it gets right")
    if not pairs:
        st.markdown(
            "These are layers of one run: its predictions are the same for all of them."
            if len(runs) == 1
            else "No two of these runs have scored photos in common."
        )
        return
    labels = dict(zip(runs, run_names(list(runs.values())), strict=True))
    pair = pairs[0]
    if len(pairs) > 1:
        keys = ["~".join(p) for p in pairs]
        key = address.select(
            "pair",
            "Which two",
            keys,
            format_func=lambda k: " against ".join(labels[d] for d in k.split("~")),
        )
        pair = pairs[keys.index(key)]
    two_runs(
        ctx,
        runs[pair[0]]._replace(name=labels[pair[0]]),
        runs[pair[1]]._replace(name=labels[pair[1]]),
        split,
    )


def two_runs(ctx: Context, one: Side, other: Side, split: str) -> None:
    """How far the predictions of two runs agree, scene by scene, and where they do not."""
    met = compare.met(
        ask(compare.outcomes, one.run, split), ask(compare.outcomes, other.run, split)
    )
    about = caption(ctx, [one, other], False, split)._replace(
        split=f"{len(met):,} {split} photos".replace("  ", " ")
    )
    result = compare.agreement(met)
    left, right = st.columns(2, gap="large", vertical_alignment="center")
    with left:
        draw.chart(
            lambda dark: drawn.agreement(result, one.name, other.name, about, dark),
            "compare-images",
            "Bars: photos that both, one, or neither predicts correctly",
            explanations.AGREEMENT,
        )
    with right:
        luck = result.p
        st.markdown(
            f"On **{result.images:,}** photos that both were given, predictions agree on "
            f"**{result.same:.0%}**. {result.first:,} are correct with {one.name} alone, "
            f"{result.second:,} with {other.name} alone"
            + (f" ({p_words(luck)}, McNemar’s exact test)." if luck == luck else ".")
        )
        if one.facts.dataset_digest != other.facts.dataset_digest:
            draw.caption(
                "The two read their photos from different data; photos are matched by name."
            )
    scenes = compare.by_scene(met)
    if len(scenes) > 1:
        title = f"Accuracy by scene, {one.name} (ring) and {other.name} (dot)"
        draw.chart(
            lambda dark: dumbbells({"": scenes}, about, dark, title=title),
            "compare-scenes",
            "Dumbbells: accuracy of every scene in both runs",
            explanations.AGREEMENT,
        )
    for kind, side in (("first", one), ("second", other)):
        rows = met[met["kind"] == kind]
        if len(rows):
            apart(rows, side, kind, f"Correct with {side.name} alone ({len(rows):,})")


def p_words(p: float) -> str:
    """A small p without more digits than it has meaning.

    >>> p_words(0.0312), p_words(1e-9)
    ('p = 0.031', 'p < 0.0001')
    """
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def run_names(sides: Sequence[Side]) -> list[str]:
    """Names of runs, without what all share, and never two alike."""
    names = [f"{side.facts.dataset} · {side.facts.model}" for side in sides]
    short = short_names(names) if len(set(names)) == len(names) else names
    return [
        name if short.count(name) == 1 else f"{name} ({side.run.digest[:6]})"
        for name, side in zip(short, sides, strict=True)
    ]


def apart(rows: pd.DataFrame, side: Side, kind: str, title: str) -> None:
    """Photos that one side alone predicts correctly: a few photos, and all of them in a table."""
    column = "image" if kind == "first" else "image_other"
    st.markdown(f"**{title}**")
    said, mistaken = ("predicted", "predicted_other")[:: 1 if kind == "first" else -1]
    if side.run.settings.has_grid:
        tiles: list[draw.Tile] = [
            {
                "src": picture(thumbnail, side.run, int(row[column]), 220),
                "title": plain_name(row["scene"]),
                "sub": f"the other predicts {plain_name(row[mistaken] or 'nothing')}",
                "alt": f"Photo {row['id']}: {plain_name(row['scene'])}",
                "href": "Scenes" + address.query({"run": side.run.digest, "image": row["id"]}),
            }
            for row in rows.head(SHOWN).to_dict("records")
        ]
        draw.gallery(tiles, f"apart-{kind}", tile=150)
    view = pd.DataFrame(
        {
            "image": rows["id"],
            "split": rows["split"],
            "scene": [plain_name(n) for n in rows["scene"]],
            "the other predicts": [
                plain_name(n) if isinstance(n, str) else "" for n in rows[mistaken]
            ],
            "open": [
                "Scenes" + address.query({"run": side.run.digest, "image": name})
                for name in rows["id"]
            ],
        }
    )
    with st.expander(f"All {len(rows):,}" if len(rows) > SHOWN else "As a table"):
        draw.table(
            view,
            f"apart-{kind}",
            title,
            height=min(38 + 35 * len(view), 360),
            column_config={"open": st.column_config.LinkColumn(display_text="photo")},
        )


def table_4(ctx: Context, sides: Sequence[Side]) -> None:
    """The paper's Table 4 for these sides, when asked for."""
    sides = [side for side in sides if side.layer]
    if not sides:
        return
    draw.subheader("False prediction explanation (Table 4)")
    for side in one_a_run(sides):
        unanswered(side.run, f"for {side.name}, the explanation of its false predictions")
    sides = [side for side in sides if not side.facts.no_answers]
    if not sides:
        return
    left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    with left:
        own = ctx.run.own_knowledge
        knowledge = address.text("knowledge", "Knowledge graph", own) or own
    with right:
        wanted = address.toggle("table4", "Compute", help="Some seconds for each of them.")
    draw.explain(explanations.TABLE_4)
    if not wanted:
        return
    rows, notes = [], []
    try:
        with st.spinner("Computing …"):
            for side in sides:
                frame, said = ask(compare.false_explanation, side.run, side.layer, knowledge)
                frame.insert(0, "side", side.name)
                rows.append(frame)
                notes += said
    except UnitscopeError as err:
        st.error(f"{sentence(err)}.", icon=":material/error:")
        return
    table = pd.concat(rows, ignore_index=True)
    shown = table[["side", "core concepts"]].copy()
    for name in ("CM_FP", "DM_FP", "SM_FP"):
        shown[name] = [
            f"{100 * v:.1f}  [{100 * a:.1f}, {100 * b:.1f}]"
            for v, a, b in zip(
                table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True
            )
        ]
        shown[f"{name} by chance"] = [f"{100 * v:.1f}" for v in table[f"{name}_chance"]]
    shown["false predictions"] = table["n"]
    draw.table(
        shown,
        "compare-table4",
        "Table 4: false prediction explanation",
        caption="; ".join(dict.fromkeys(notes)),
    )
    with st.expander("What was left out, and why"):
        st.markdown("\n".join(f"- {note}" for note in dict.fromkeys(notes)))


def labelling_methods(ctx: Context, sides: Sequence[Side]) -> None:
    """How the labels of each method score, wherever they were scored."""
    draw.subheader("Labels by every method")
    found = {side.name: benches.latest(side.run, side.layer) for side in sides}
    scored = {name: bench for name, bench in found.items() if bench is not None}
    if scored:
        label_part.compared(ctx, scored)
    missing = [side for side in sides if found[side.name] is None]
    for side in missing if scored else ():
        draw.caption(f"{side.name}: labels not scored yet.")
        st.code(f"python -m core labels {side.run.digest} --layer {side.layer}", language="bash")
    if not scored:
        label_part.not_yet(ctx, "compare-labels")


ctx = page("Compare")
st.title("Compare")
st.html(
    '<p class="lede">Networks, layers or runs side by side: accuracy, what their units detect, and '
    "the photos on which predictions differ.</p>"
)
st.page_link(
    page_files()["Disable"],
    label="Compare two sets of disabled units",
    icon=":material/toggle_off:",
    query_params=address.kept(view="compare"),
)
options = everything(cache_root())
chosen = choose(ctx, options)
if not chosen:
    draw.caption("Nothing chosen.")
    st.stop()
splits = [ask(run_views.splits, options[key][0]) for key in chosen]
every_split = sorted(set().union(*splits))
shared = sorted(set(splits[0]).intersection(*splits[1:]))
split = ""
if len(every_split) > 1:
    split = address.split(
        "split",
        "Accuracy judged on",
        every_split,
        judged_split(shared),
        widget=st.segmented_control,
        help="Which photos accuracy and predictions are compared on. Accuracy on training photos "
        "says little of new ones. Units are compared over all photos.",
    )
sides = [
    Side(run, layer, name, ask(compare.side, run, layer, ctx.denominator, split))
    for (run, layer, _), name in zip(
        [options[key] for key in chosen],
        short_names(apart_names(options, chosen)),
        strict=True,
    )
]
if len(sides) == 1:
    draw.caption("Choose another layer or run to compare this one with.")
at_a_glance(ctx, sides)
two_shares(ctx, sides, split)
st.divider()
what_they_detect(ctx, sides)
if len(sides) > 1:
    st.divider()
    same_images(ctx, sides, split)
st.divider()
labelling_methods(ctx, sides)
st.divider()
table_4(ctx, sides)
