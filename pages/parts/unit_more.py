"""More of one unit, on the page Units: photos of its whole range, and the classes it speaks for."""

from __future__ import annotations

import streamlit as st

from core.figures import units as unit_figures
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.settings import judged_split
from core.views import runs as run_views
from core.views.names import sentence
from core.views.units import SPANS, unit_classes
from pages.parts import address, draw
from pages.parts.cache import toggler
from pages.parts.frame import Context, unanswered

CLASSES = r"""
The network's last layer adds $w_{uc}\,a_u$ to the logit of class $c$, where $a_u$ is the unit's
mean activation over the photo. Shown is its mean over the photos of one split, less the mean over
all classes, because what is added to every class alike changes no answer. The line is the 95 %
interval of that mean over photos. It says what the unit adds, not what it alone decides:
switching it off (page *Disable*) measures the effect.
"""


def span() -> str:
    """Which photos of the unit are shown: a choice, in the address."""
    return address.select(
        "range",
        "Activation",
        list(SPANS),
        "top",
        widget=st.segmented_control,
        format_func=lambda one: f"{one}: {SPANS[one]}",
        width="content",
        wrap=True,
    )


def classes(ctx: Context, unit: int) -> None:
    """The classes that the unit raises and lowers most, on the held-out split."""
    if unanswered(ctx.run, "which classes a unit raises and lowers"):
        return
    draw.subheader("Classes it raises and lowers")
    if not address.toggle(
        "raises", "Compute its contribution", help="Opens the network: a few seconds at first."
    ):
        return
    splits = ctx.ask(run_views.splits)
    split = address.split("mean", "On split", splits, judged_split(splits), width=240)
    try:
        frame = ctx.ask(unit_classes, toggler(ctx.run, ctx.layer), unit, split)
    except UnitscopeError as err:
        st.info(f"{sentence(err)}.", icon=":material/info:")
        return
    caption = ctx.caption(f"split {split}" if split else "all photos")
    draw.chart(
        lambda dark: unit_figures.unit_classes(frame, unit, caption, dark),
        f"unit-{unit}-classes",
        f"Bars: the classes whose logits unit {unit} raises and lowers most",
        CLASSES,
    )
    with st.expander("All classes, as a table"):
        number = st.column_config.NumberColumn
        draw.table(
            frame.assign(**{"class": [plain_name(name) for name in frame["class"]]}).rename(
                columns={"contribution": "mean w·a", "above": "less the mean over classes"}
            ),
            f"unit-{unit}-classes",
            f"Mean contribution of unit {unit} to the logit of every class",
            CLASSES,
            caption=" / ".join(caption.lines()),
            column_config={
                name: number(format="%.4f")
                for name in ("weight", "mean w·a", "low", "high", "less the mean over classes")
            },
        )
