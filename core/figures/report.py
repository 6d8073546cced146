"""A report of a run in one HTML file.

A report holds figures as inline SVG, tables, definitions, versions, and the command that makes
the run again. It asks for nothing from anywhere: no script, no font, no picture from outside
(its own policy forbids the browser to try), so it can be mailed and archived.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import count
from typing import TYPE_CHECKING, Any

import pandas as pd

from core.dissect.labels import better_than_chance
from core.dissect.significance import FDR
from core.figures import explain as of_photo
from core.figures import units as unit_figures
from core.figures.base import COUNTING, Caption
from core.figures.contents import (
    FIGURES,
    TABLES,
    View,
    available,
    chance_columns,
    check_needs,
    drawn_chart,
)

# `core.report` offers these two as well.
from core.figures.contents import export_figures as export_figures
from core.figures.contents import open_view as open_view
from core.figures.export import export, named_parts
from core.figures.units import peaks, unit_chance
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import plain_name
from core.foundation.progress import duration
from core.foundation.settings import quantile_words
from core.runs.run_names import read_names
from core.views import units as unit_views
from core.views.findings import hero
from core.views.images import image_number
from core.views.names import label_name
from core.views.pictures import thumbnail, unit_photo
from core.views.runs import Summary, judged_words
from core.views.units import (
    comparison,
    iou_histogram,
    peak_histogram,
    unit_concepts,
    unit_facts,
    unit_images,
)

if TYPE_CHECKING:  # PyTorch comes with it
    from core.attribution.case import Opened
    from core.views.knowledge import Known

ACCOUNT = ("minmax_threshold", "image", "scc")
"""Strategy, IoU and core concepts of the accounts in a report."""

ROWS = 40
"""Rows of a table in a report; how many there are is said."""

DEFINITIONS = {
    "Accuracy": "The share of images whose most probable class is their scene. Intervals are "
    "Wilson’s, 95 %. Images whose scene is no class of the network are left out.",
    "Threshold T<sub>t</sub>": "The 1 − q quantile of all activations of unit t over all places "
    "of all images. A unit is active, A<sub>t</sub>(x), where its map, upsampled bilinearly, "
    "exceeds it.",
    "Overlap (IoU)": "Σ<sub>x</sub> |A<sub>t</sub>(x) ∩ L<sub>c</sub>(x)| ∕ "
    "Σ<sub>x</sub> |A<sub>t</sub>(x) ∪ L<sub>c</sub>(x)|, summed over all images; "
    "L<sub>c</sub>(x) is where concept c is annotated. A unit’s label is the concept with the "
    "highest IoU.",
    "Chance": "The same search with every image’s masks exchanged for another’s of its split, "
    "many times: a unit’s own null distribution. p = (1 + rounds in which the unit does at least "
    "as well) ∕ (1 + rounds). Adjusted for the false discovery rate over the units that are active "
    f"(Benjamini–Hochberg), p ≤ {FDR:g} is called better than chance: of the units so "
    f"called, {FDR:.0%} at most are expected to be so by luck.",
    "Untrained twin": "The same architecture with random weights, its batch norm estimated on the "
    "same photos, and its units counted and tested in the same manner. Place in the photo, "
    "brightness and colour alone make some of its units better than chance: training is owed what "
    "goes beyond.",
    "Concept detected": "The best label of at least one unit that is better than chance.",
}
"""Term → what it means, in HTML."""

STYLE = """
body { font: 16px/1.5 'Source Sans', 'Source Sans Pro', 'Liberation Sans', Arial, sans-serif;
  color: #1f2933; background: #fff; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; border-top: 1px solid #dfe4e9;
  padding-top: 1.2rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.lede { font-size: 1.08rem; color: #3c4852; margin-top: 0; }
figure { margin: 1.6rem 0; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
.photos { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.6rem 0; }
.photos figure { margin: 0; width: 12rem; }
.photos img { width: 100%; border-radius: 6px; display: block; }
figcaption { font-size: .9rem; color: #5b6770; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.6rem; margin: 0; }
dt { color: #5b6770; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #5b6770; padding-bottom: .4rem; }
th, td { padding: .22rem .9rem .22rem 0; text-align: left; border-bottom: 1px solid #e3e7eb; }
th { font-weight: 600; } .n { text-align: right; }
pre { background: #f4f6f8; border-radius: 6px; padding: .8rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
@media print { h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


def report(
    view: View,
    chosen: Sequence[str] | None = None,
    tables: Sequence[str] | None = None,
    photos: bool = True,
    units: Sequence[int] = (),
    images: Sequence[str] = (),
) -> str:
    """A report of a run as the text of one HTML file.

    Parameters
    ----------
    chosen, tables : names of :data:`FIGURES` and :data:`TABLES`; all that the run can give
        where None.
    photos : show three units' photos; a report that goes to others carries them along.
    units : each gets a section of its own: photos, labels against chance, responses.
    images : ids; each gets the account of its prediction by what the run's own graph says of
        scenes, with the definitions that the Explain page begins with.

    Raises UnitscopeError for an unknown name, unit or image, and for units or images of a run
    without layers.
    """
    shown, listed = available(view)
    facts = view.facts
    if (units or images) and not view.layer:
        raise UnitscopeError("this run has no units: it holds predictions alone")
    numbers = count()
    photos = photos and bool(view.layer) and bool(facts.photos)
    charts = {name: drawn_chart(view, name) for name in (shown if chosen is None else chosen)}
    drawn = {FIGURES[name].title: chart for name, chart in charts.items() if chart is not None}
    parts = [_head(facts, view)]
    if photos:
        parts.append(_photos(view))
    if drawn:
        parts.append("<h2>Figures</h2>")
        parts += _figures(drawn, numbers)
    for unit in units:
        parts += _unit(view, unit, photos, numbers)
    network = _network(view) if images else ""
    for image in images:
        parts += _account(view, image, photos, numbers, network)
    for name in listed if tables is None else tables:
        if name not in TABLES:
            raise unknown("table", name, TABLES)
        check_needs(view, f"table {name!r}", TABLES[name].needs)
        frame = TABLES[name].rows(view)
        if len(frame):
            split = facts.judged if TABLES[name].judged else ""
            own = view.caption(TABLES[name].needs == "units", split)
            of = f", {judged_words(split)}" if TABLES[name].judged else ""
            parts.append(_table(TABLES[name].title + of, frame, own))
    parts.append(_definitions(view))
    parts.append(_again(facts, view))
    return page(f"{facts.dataset} · {facts.model}: Unitscope report", parts)


def page(title: str, parts: Sequence[str], style: str = "") -> str:
    """One HTML file that asks for nothing from anywhere, from pieces of HTML.

    title : plain text. style : CSS beside that of all reports.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _head(facts: Summary, view: View) -> str:
    said, compared = [f"{facts.images:,} images"], ""
    if facts.accuracy is not None:
        said.append(
            f"accuracy on {judged_words(facts.judged)} {facts.accuracy:.1%} ({facts.right:,} of "
            f"{facts.answered:,})" + ("" if facts.judged else ", no split being held out")
        )
    if view.layer:
        chance = better_than_chance(view.run, view.layer, view.denominator)
        if chance.above is not None:
            said.append(
                f"{chance.above:,} of {chance.units:,} units of {escape(view.layer)} "
                "detect something with a name, better than chance"
            )
        else:
            said.append(f"{chance.units:,} units of {escape(view.layer)}")
        compared = " " + escape(comparison(chance))
    rows = {
        "Photos": f"{facts.dataset} ({facts.dataset_spec}), {facts.skipped:,} lost",
        "Network": f"{facts.model} ({facts.model_spec})",
    }
    if view.layer:
        layer = facts.layer(view.layer)
        assert facts.grid and facts.q is not None, "a run with layers has both"
        width, height = facts.grid
        rows |= {
            "Layer": f"{view.layer}: {layer.units} units, maps of {layer.width} × {layer.height}",
            "Annotations": ", ".join(facts.categories) or "whole images only",
            "Threshold": f"each unit's {quantile_words(facts.q)} quantile (q = {facts.q:g})",
            "Counted on": f"a grid of {width} × {height} over what the network saw",
            "Overlap": COUNTING[view.denominator],
            "Chance": f"{facts.shuffles} rounds of exchanged masks",
        }
    if facts.no_answers:
        rows["Answers"] = f"none: {facts.no_answers}"
    if facts.splits:
        rows["Splits"] = ", ".join(facts.splits)
    rows["Finished"] = f"{facts.finished.replace('T', ' ').rstrip('Z')} UTC"
    cells = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items())
    return (
        f"<h1>{escape(facts.dataset)} · {escape(facts.model)}</h1>\n"
        f'<p class="lede">{"; ".join(said)}.{compared}</p>\n<dl>{cells}</dl>'
    )


def _photos(view: View) -> str:
    layer = view.layer
    return _strip(
        _picture(
            unit_photo(view.run, layer, seen.unit, seen.images[0], 360),
            f"Photo, bright where unit {seen.unit} is active",
            f"unit {seen.unit}: {seen.label} ({seen.detector}, IoU {seen.iou:.3f})",
        )
        for seen in hero(view.run, layer, view.denominator)
    )


def _strip(tiles: Iterable[str]) -> str:
    inside = "".join(tiles)
    return f'<div class="photos">{inside}</div>' if inside else ""


def _picture(jpeg: bytes, alt: str, caption: str) -> str:
    return (
        f'<figure><img src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" '
        f'alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _figures(charts: Mapping[str, Any], numbers: Iterator[int]) -> list[str]:
    return [
        f'<figure aria-label="{escape(title)}">{_svg(chart, next(numbers))}</figure>'
        for title, chart in charts.items()
    ]


def _unit(view: View, unit: int, photos: bool, numbers: Iterator[int]) -> list[str]:
    """The section of one unit: as the Units page has it."""
    run, layer, caption = view.run, view.layer, view.caption()
    facts = unit_facts(run, layer, unit)
    labels = unit_concepts(run, layer, unit, view.denominator)
    best = labels.iloc[0] if len(labels) else None
    name = "no label" if best is None else label_name(best["name"], best["adjusted"] > FDR)
    parts = [f"<h2>Unit {unit} of {escape(layer)}: {escape(name)}</h2>"]
    if photos:
        top = unit_images(run, layer, unit, None, 4)
        parts.append(
            _strip(
                _picture(
                    unit_photo(run, layer, unit, int(row.image), 360),
                    f"Photo {row.id}, bright where unit {unit} is active",
                    f"photo {row.id}, peak {row.peak:.3g}",
                )
                for row in top.itertuples()
            )
        )
    charts = {}
    histogram = iou_histogram(run, layer, view.denominator, unit=unit)
    if best is not None and (histogram["kind"] == "shuffled labels").any():
        own = float(best["iou"])
        charts["Against chance"] = unit_chance(histogram, own, unit, caption)
    bins = peak_histogram(run, layer, unit)
    charts["Responses"] = peaks(bins, float(facts.threshold), unit, caption)
    scenes = unit_views.unit_scenes(run, layer, unit)
    if len(scenes):
        charts["Scenes"] = unit_figures.unit_scenes(scenes, unit, caption)
    parts += _figures(charts, numbers)
    if len(labels):
        rows = pd.DataFrame(
            {
                "concept": [
                    label_name(n, p > FDR)
                    for n, p in zip(labels["name"], labels["adjusted"], strict=True)
                ],
                "category": labels["category"].astype(str),
                "IoU": labels["iou"].round(4),
                **chance_columns(labels),
            }
        )
        parts.append(_table(f"Labels of unit {unit}", rows, caption, 3))
    return parts


def _network(view: View) -> Opened | str:
    """The run's network, open; or why it cannot be, in words."""
    from core.views import causes

    try:
        return causes.open_layer(view.run, view.layer)
    except UnitscopeError as err:
        return str(err)


def _causes(
    view: View, image: str, known: Known, network: Opened | str, numbers: Iterator[int]
) -> list[str]:
    """What caused the answer to a photo: sentence, chart, table; or why it is not told."""
    from core.views import causes

    try:
        if isinstance(network, str):
            raise UnitscopeError(network)
        explained = causes.causes(view.run, network, known, image, ACCOUNT[2])
    except UnitscopeError as err:
        return [f"<p>What caused the answer is not told: {escape(str(err))}.</p>"]
    found = explained.causes
    way = of_photo.by(found.question.fillings, found.question.controls, found.evidence_kind)
    facts = view.facts
    where = f"photo {image} ({found.split})"
    caption = Caption(facts.dataset, facts.model, found.layer, way, where)
    rows = causes.causes_frame(explained)
    chart = of_photo.causes(rows, found.answer, found.against, caption)
    columns = {
        "concept": "concept",
        "effect": "effect",
        "low": "elsewhere from",
        "high": "to",
        "evidence": "evidence",
        "without": "answer without it",
        "answer": f"for {plain_name(found.answer)}",
        "against": f"for {plain_name(found.against)}",
    }
    rows = rows[list(columns)].rename(columns=columns).round(3)
    rows["answer without it"] = rows["answer without it"].map(plain_name)
    parts = [f"<p>{escape(found.sentence)}</p>"]
    if found.disagreement:
        parts.append(f"<p>Evidence and measured effect disagree. {escape(found.disagreement)}</p>")
    parts += _figures({"What caused the answer": chart}, numbers)
    return [*parts, _table(f"What caused the answer to photo {image}", rows, caption, 3)]


def _account(
    view: View, image: str, photos: bool, numbers: Iterator[int], network: Opened | str
) -> list[str]:
    """The section of one photo: as the Explain page has it."""
    from core.views import explain, knowledge

    run, layer = view.run, view.layer
    number = image_number(run, image)
    spec = run.own_knowledge
    known = knowledge.know(run, knowledge.open_knowledge(spec), spec)
    explained = explain.account(run, known, image, layer, *ACCOUNT)
    facts = view.facts
    caption = Caption(
        facts.dataset,
        facts.model,
        layer,
        of_photo.definition(*ACCOUNT, known.name),
        f"photo {image}",
    )
    parts = [f"<h2>Photo {escape(image)}</h2>"]
    if photos:
        seen = _picture(thumbnail(run, number, 480), f"Photo {image}", f"photo {image}")
        parts.append(_strip([seen]))
    parts += _causes(view, image, known, network, numbers)
    parts.append("<h3>The paper’s account</h3>")
    parts.append(f"<p>{escape(explained.account.sentence)}</p>")
    frame = pd.DataFrame(explained.account.scenes)
    if len(frame):
        both = {name: side.scene for name, side in explained.account.sides.items()}
        parts += _figures(
            {
                title: of_photo.measure(frame, name, both, caption)
                for name, title in of_photo.TITLES.items()
            },
            numbers,
        )
    rows = explain.account_table(explained)
    if len(rows):
        rows["iou"] = rows["iou"].round(4)
        rows["scene"] = rows["scene"].map(plain_name)
        sides = {"predicted": "the network’s answer", "target": "true scene"}
        rows["side"] = rows["side"].map(sides)
        rows["annotated"] = rows["annotated"].map({True: "yes", False: "no"})
        rows = rows.rename(columns={"annotated": "in the photo", "iou": "IoU"})
        parts.append(_table(f"The account of photo {image}", rows, caption, 3))
    return parts


def _svg(chart: Any, number: int) -> str:
    return inline_svg(export(chart, "svg").decode(), number)


def inline_svg(text: str, number: int) -> str:
    """An SVG file's text as a part of a page. Names of its parts are made unique: two figures of
    one page must not share any, or the first one's clips would cut the second."""
    return named_parts(text[text.index("<svg") :], f"figure{number}")


def _table(title: str, frame: pd.DataFrame, caption: Caption, level: int = 2) -> str:
    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]

    def cell(value: Any, number: bool, tag: str) -> str:
        missing = (
            value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
        )
        said = "–" if missing else f"{value:g}" if isinstance(value, float) else str(value)
        return f"<{tag}{' class=n' if number else ''}>{escape(said)}</{tag}>"

    def row(values: Any, tag: str) -> str:
        cells = [cell(v, n, tag) for v, n in zip(values, numbers, strict=True)]
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(row(values, "td") for values in frame.head(ROWS).itertuples(index=False))
    many = f"the first {ROWS} of {len(frame):,}; " if len(frame) > ROWS else ""
    return (
        f'<h{level}>{escape(title)}</h{level}>\n<div class="scroll"><table><caption>'
        f"{many}{escape(' · '.join(line for line in caption.lines() if line))}</caption><thead>"
        f"{row(frame.columns, 'th')}</thead><tbody>{body}</tbody></table></div>"
    )


def _definitions(view: View) -> str:
    names = list(DEFINITIONS) if view.layer else ["Accuracy"]
    if view.run.no_answers:
        names.remove("Accuracy")
    cells = "".join(f"<dt>{name}</dt><dd>{DEFINITIONS[name]}</dd>" for name in names)
    return f"<h2>What the words mean</h2>\n<dl>{cells}</dl>"


def _again(facts: Summary, view: View) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts.versions.items())
    name = read_names(view.run.path.parent).of(facts.run)
    rows = {
        "Run": f"{name} ({facts.run})" if name else facts.run,
        "Digest of its tables": view.run.tables_digest,
    }
    if versions:
        rows["Versions"] = versions
    if facts.seconds:
        rows["It took"] = duration(sum(facts.seconds.values()))
    cells = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items())
    how = "<h2>How to make it again</h2>\n"
    if facts.command:
        how += f"<pre>{escape(facts.command)}</pre>\n"
    else:
        how += "<p>A table of published predictions, read in with python -m core predictions.</p>"
    return f"{how}<dl>{cells}</dl>"
