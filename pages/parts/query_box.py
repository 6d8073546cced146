"""A box for SQL over the run file: a part of the page Runs."""

from __future__ import annotations

import streamlit as st

from core.foundation.errors import UnitscopeError
from core.runs import query
from core.runs.run_file import Run
from core.runs.tables import TABLES
from core.views.names import sentence
from pages.parts import address, draw
from pages.parts.cache import ask

EXAMPLE = (
    "SELECT name, category, count(*) AS units, max(iou_all) AS best\n"
    "FROM dataset_iou WHERE iou_all > 0.04\nGROUP BY ALL ORDER BY units DESC"
)


def box(run: Run) -> None:
    """The box, and the answer to the query that the address holds."""
    asked = address.get("sql")
    with st.expander("Query the run file (SQL)", icon=":material/database:", expanded=bool(asked)):
        draw.caption(
            f"One SELECT, read-only: at most {query.ROWS:,} rows, {query.SECONDS:g} s and "
            f"{query.MEMORY // 2**20} MiB. Tables: {', '.join(TABLES)}; views: dataset_iou, "
            "image_iou. Their columns: `docs/run-file.md`, or `DESCRIBE units`."
        )
        with st.form("query", border=False):
            text = st.text_area(
                "Query",
                asked or EXAMPLE,
                key=f"query-{run.digest}",
                height=130,
                max_chars=address.LONGEST,
                label_visibility="collapsed",
            )
            if st.form_submit_button("Run the query", icon=":material/play_arrow:"):
                address.put({"sql": text.strip()})
                asked = text.strip()
        if asked:
            answer(run, asked)


def answer(run: Run, asked: str) -> None:
    """The rows, or what was wrong."""
    try:
        found = ask(query.ask, run, asked)
    except UnitscopeError as err:
        st.error(f"{sentence(err)}.", icon=":material/error:")
        return
    more = f"the first {len(found.frame):,} rows; there are more" if found.more else ""
    draw.caption(f"{more or f'{len(found.frame):,} rows'}, {found.seconds:.1f} s")
    if len(found.frame):
        draw.table(found.frame, "query", "The rows of the answer", caption=f"run {run.digest}")
