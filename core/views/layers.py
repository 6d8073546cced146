"""The layers of one run side by side: what each detects, and how that changes with depth."""

from __future__ import annotations

import pandas as pd

from core.dissect.labels import better_than_chance
from core.runs.run_file import Run
from core.views.units import detected, unit_table


def by_layer(run: Run, denominator: str = "all") -> pd.DataFrame:
    """A row a layer, in the network's order: layer, units, above (units whose label is better than
    chance; NA where chance was not measured), by_chance (units that would be so by chance), twin
    (units of the untrained twin that are; NA where there is none), concepts (different labels of
    the units counted), iou (median best IoU of all units), width, height (of the maps)."""
    rows = []
    for layer in run.layer_names:
        table = unit_table(run, layer, denominator)
        result = better_than_chance(run, layer, denominator)
        found = detected(run, layer, denominator)
        shape = run.sql("SELECT width, height FROM layers WHERE name = ?", [layer]).iloc[0]
        rows.append(
            {
                "layer": layer,
                "units": len(table),
                "above": result.above,
                "by_chance": result.by_chance if result.above is not None else None,
                "twin": result.untrained,
                "concepts": len(found),
                "iou": float(table["iou"].median()),
                "width": int(shape["width"]),
                "height": int(shape["height"]),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.astype({"above": "Int64", "twin": "Int64", "by_chance": "Float64"})


def categories_by_layer(run: Run, denominator: str = "all") -> pd.DataFrame:
    """Units by the category of their label, of the units that :func:`by_layer` counts: layer,
    category, units, share (of all units of the layer), concepts."""
    parts = []
    for layer in run.layer_names:
        found = detected(run, layer, denominator)
        part = found.groupby("category", as_index=False).agg(
            units=("units", "sum"), concepts=("name", "size")
        )
        part.insert(0, "layer", layer)
        part["share"] = part["units"] / run.unit_count(layer)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def concepts_by_layer(run: Run, denominator: str = "all") -> pd.DataFrame:
    """Concepts that some unit of some layer detects: name, category, then for each layer
    ``units LAYER`` and ``IoU LAYER`` (of its best unit; NaN where none detects it).

    Most units in all layers together first.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for layer in run.layer_names:
        for row in detected(run, layer, denominator).itertuples():
            one = found.setdefault((str(row.name), str(row.category)), {})
            one[f"units {layer}"], one[f"IoU {layer}"] = row.units, row.iou
    columns = [f"{what} {layer}" for layer in run.layer_names for what in ("units", "IoU")]
    rows = [{"name": name, "category": kind, **numbers} for (name, kind), numbers in found.items()]
    frame = pd.DataFrame(rows, columns=["name", "category", *columns])
    counts = [column for column in columns if column.startswith("units ")]
    frame[counts] = frame[counts].astype(float).fillna(0).astype(int)
    order = frame.assign(all=frame[counts].sum(axis=1))
    order = order.sort_values(["all", "name", "category"], ascending=[False, True, True])
    return order.drop(columns="all").reset_index(drop=True)
