"""How segmentation networks are named, and which of their labels stand for nothing: no PyTorch."""

from __future__ import annotations

from core.foundation.errors import UnitscopeError, nearest

NOTHING = frozenset(
    {"", "__background__", "background", "void", "ignore", "unlabeled", "unlabelled"}
)
"""Names of outputs that stand for no label: their pixels are not annotated."""

FORMS = ("torchvision:NAME[:CHECKPOINT]", "transformers:DIR")
"""How a segmentation network is named; core/annotate/segment.py opens it."""


def check_spec(spec: str) -> tuple[str, str]:
    """(kind, the rest) of a network's SPEC. Raises for another kind, telling the forms.

    >>> check_spec("transformers:models/segformer")
    ('transformers', 'models/segformer')
    """
    kind, _, rest = spec.partition(":")
    kinds = [form.partition(":")[0] for form in FORMS]
    if kind not in kinds or not rest:
        near = nearest(kind, kinds, 1)
        hint = f"; is {near[0]!r} meant?" if near and near[0] != kind else ""
        raise UnitscopeError(
            f"segmentation network {spec!r}: the forms are {' and '.join(FORMS)}{hint}"
        )
    return kind, rest
