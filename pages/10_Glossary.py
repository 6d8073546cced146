"""Glossary: what every term on the pages means, with the document that says more."""

from __future__ import annotations

import streamlit as st

from core.foundation.errors import nearest
from core.foundation.glossary import GLOSSARY, Entry, entry, found
from pages.parts import address
from pages.parts.frame import page, stop

page("Glossary", needs_run=False)
st.title("Glossary")
st.html(
    '<p class="lede">The terms of the field and of the paper, as these pages use them. Headings, '
    "captions and explanations link here.</p>"
)


def show(one: Entry) -> None:
    """A term, its meaning, and where more of it is said."""
    more = f" More: `docs/{one.more}`." if one.more else ""
    others = ", ".join(word for word in one.words if word.lower() != one.term.lower())
    also = f" Also: {others}." if others else ""
    st.markdown(f"**{one.term}** · {one.meaning}{also}{more}")


asked = address.get("term")
if asked:
    chosen = entry(asked)
    if chosen is None:
        near = nearest(asked, [one.slug for one in GLOSSARY])
        links = {f"Show {slug}": address.kept(term=slug) for slug in near[:3]}
        stop(
            f"The glossary has no term “{asked}”.",
            {**links, "Show all terms": address.kept()},
            "Glossary",
        )
    with st.container(border=True):
        show(chosen)
word = address.text("word", "Find a term", placeholder="contribution score")
rows = found(word)
if not rows:
    st.info("No term and no meaning holds that.", icon=":material/filter_alt_off:")
for row in rows:
    show(row)
