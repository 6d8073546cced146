"""Fitting a state dict to a network: renaming, differences in words, loading."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError
from core.foundation.names import few
from core.foundation.plain import Json

WRAPPERS = ("module", "_orig_mod")
"""Parts of names that DataParallel and ``torch.compile`` put in, and no network has itself."""


_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.(?=[a-z_]+$)")
"""DenseNet's names before torchvision 0.2.1: ``norm.1.weight`` for ``norm1.weight``."""


class Weights(dict[str, Tensor]):
    """A state dict under a network's own names, which keeps the file's names for messages.

    Attributes
    ----------
    called : the file's name of each weight that has another here.
    left_out : the file's names of entries outside the network.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        called: Mapping[str, str] | None = None,
        left_out: Iterable[str] = (),
    ):
        super().__init__(state)
        self.called = dict(called or {})
        self.left_out = list(left_out)

    def file_name(self, name: str) -> str:
        return self.called.get(name, name)

    def renamed(self, new: Callable[[str], str | None]) -> Weights:
        """The state dict under new names, without entries whose new name is None or a
        repetition."""
        made = Weights({}, left_out=self.left_out)
        for name, value in self.items():
            changed, file_name = new(name), self.file_name(name)
            if changed is None or changed in made:
                made.left_out.append(file_name)
            else:
                made[changed] = value
                if changed != file_name:
                    made.called[changed] = file_name
        return made


CLASSIFIERS = ("head.fc", "head", "fc", "classifier")
"""Where a classifier lies beside the attribute that holds the rest (MMPretrain: ``head.fc``)."""


def settle(state: Mapping[str, Tensor], own: Iterable[str], head: str = "") -> tuple[Weights, Json]:
    """(the state dict under a network's own names, notes), by renaming what surrounded it.

    Dropped are ``module`` and ``_orig_mod`` anywhere in a name, and the name of the attribute
    that held the network in a larger module (``model.``, Lightning's ``net.``,
    ``backbone.encoder.``, …): the one under which most of the network's names are found, if most
    are. What lay beside the network (a loss, a metric) is left out and noted under ``left out``.
    Names that fit already are kept.

    With `head`, the name of the network's classifier, and everything but this in place: a linear
    layer one level deeper (``fc.1``, a Sequential of Dropout and Linear) or higher, or beside the
    rest under one of :data:`CLASSIFIERS`, is taken for it, and noted under ``classifier``.

    Raises UnitscopeError where two such attributes fit equally well, with different weights
    (a student and a teacher).

    >>> own = ["conv.weight", "fc.weight"]
    >>> state = {"net.conv.weight": 1, "net.fc.weight": 2, "loss.weight": 3}
    >>> settle(state, own)
    ({'conv.weight': 1, 'fc.weight': 2}, {'left out': 'loss.weight'})
    """
    # Older files lack these counters of batch norm.
    names = {name for name in own if not name.endswith("num_batches_tracked")}

    def hits(some: Iterable[str]) -> int:
        return len(names & set(some))

    weights = Weights(state)
    for rename in (
        lambda name: ".".join(part for part in name.split(".") if part not in WRAPPERS),
        lambda name: _OLD_DENSENET.sub(r"\1\2.", name),
    ):
        new = weights.renamed(rename)
        if hits(new) > hits(weights) and len(new) == len(weights):
            weights = new
    tried = {""}
    for name in weights:
        for at in [k for k, c in enumerate(name) if c == "."][:4]:
            if name[at + 1 :] in names:
                tried.add(name[: at + 1])
    found = {p: hits(k[len(p) :] for k in weights if k.startswith(p)) for p in sorted(tried)}
    prefix = max(found, key=lambda p: found[p])
    if found[prefix] <= found[""] or 2 * found[prefix] <= len(names):
        prefix = ""

    def under(some: str) -> Weights:
        return weights.renamed(lambda k: k[len(some) :] if k.startswith(some) else None)

    inside = under(prefix)
    for other in [p for p in found if prefix and p != prefix and found[p] == found[prefix]]:
        if not _alike(inside, under(other), names):
            raise UnitscopeError(
                f"the checkpoint holds this network more than once, under {prefix} and "
                f"{other}, and does not say which is meant. Save one of them alone: "
                f"torch.save({{k.removeprefix({prefix!r}): v for k, v in state.items() "
                f"if k.startswith({prefix!r})}}, FILE), state being its state dict"
            )
    notes: Json = {}
    if head:
        inside, result = _with_head(inside, weights, names, head)
        notes |= {"classifier": result} if result else {}
    return inside, notes | ({"left out": few(inside.left_out)} if inside.left_out else {})


def _with_head(inside: Weights, whole: Weights, names: set[str], head: str) -> tuple[Weights, str]:
    """(weights with the classifier under its own name, what it was in words), see :func:`settle`;
    as they are, and "", where it is in place, is not found, or is not all that lacks."""
    parts = {name for name in names if name.startswith(f"{head}.")}
    if f"{head}.weight" in inside or not (names - parts) <= set(inside):
        return inside, ""

    def linear(where: Mapping[str, Tensor], at: str) -> bool:
        weight = where.get(f"{at}.weight")
        return weight is not None and weight.ndim in (2, 4)

    def moved(some: Mapping[str, Tensor], at: str) -> dict[str, str]:
        return {k: f"{head}.{k[len(at) + 1 :]}" for k in some if k.startswith(f"{at}.")}

    beneath = {k.rpartition(".")[0] for k in inside if k.startswith(f"{head}.")}
    deeper = [at for at in beneath if len(beneath) == 1 and at[len(head) + 1 :].isdigit()]
    above = head.rpartition(".")[0]
    alone = bool(above) and all(n in parts for n in names if n.startswith(f"{above}."))
    for at in [*deeper, *([above] if alone else [])]:
        if linear(inside, at):
            new = moved(inside, at)
            file_name = inside.file_name(f"{at}.weight").removesuffix(".weight")
            return inside.renamed(lambda k, new=new: new.get(k, k)), (  # type: ignore[misc]
                f"{file_name} of the file, read as a linear layer alone (Dropout and all else "
                "that has no weights does not show in a file)"
            )
    beside = [at for at in CLASSIFIERS if linear(whole, at) and f"{at}.weight" not in inside]
    if len(beside) != 1:
        return inside, ""
    new = moved(whole, beside[0])
    made = Weights(
        {**inside, **{new[k]: whole[k] for k in new}},
        {**inside.called, **{new[k]: whole.file_name(k) for k in new}},
    )
    made.left_out = [k for k in inside.left_out if k not in made.called.values()]
    return made, f"{beside[0]} of the file"


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of one type and shape and equal throughout."""
    return one.dtype == other.dtype and torch.equal(one, other)


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: set[str]) -> bool:
    """Whether two state dicts have the same values under `names`, as one network that is an
    attribute of a larger one twice is stored."""
    return all(
        name in one and name in other and same_values(one[name], other[name])
        for name in names & (set(one) | set(other))
    )


def differences(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """How a state dict differs from a network's, in words; [] where it fits.

    Messages use the names as the file has them, also after :func:`settle`.

    Weights that the network shares between several names may be given under one of them, and
    counters of batch norm (``num_batches_tracked``, which PyTorch has since 0.4.1) may lack.
    """
    own = module.state_dict()
    called = state.file_name if isinstance(state, Weights) else str
    # A network without memory has no addresses.
    given = {own[k].data_ptr() for k in state if k in own} - {0}
    missing = [
        k
        for k, v in own.items()
        if k not in state and not k.endswith("num_batches_tracked") and v.data_ptr() not in given
    ]
    extra = [called(k) for k in state if k not in own]
    shapes = [
        f"{called(k)}: file {tuple(state[k].shape)}, network {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    parts = []
    if missing:
        parts.append(f"the network also has {few(missing)}")
    if extra:
        parts.append(f"the file also has {few(extra)}")
    if shapes:
        parts.append(f"shapes differ: {few(shapes)}")
    return parts


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load `state` into `module`; raise one message that shows both sides of a mismatch.

    The message also says which torchvision network the weights are of, where they are one's,
    how many colours the file's first layer takes, where not three, and what was left out.
    """
    parts = differences(module, state)
    if parts:
        first = next((v for v in state.values() if v.ndim == 4 and v.shape[2] > 1), None)
        if first is not None and first.shape[1] in (1, 2, 4, 6) and len(parts) == 1:
            parts.append(
                f"the file's first layer takes {first.shape[1]} colour channel"
                f"{'' if first.shape[1] == 1 else 's'}; photos have 3 (RGB)"
            )
        likely = closest(state)
        if likely and likely != closest(module.state_dict()):
            parts.append(f"the file's names and shapes are those of torchvision's {likely}")
        if isinstance(state, Weights) and state.left_out:
            parts.append(f"left out, as no part of this network: {few(state.left_out)}")
        raise UnitscopeError(f"{what} does not fit this network: " + "; ".join(parts))
    # Some networks (MNASNet) ask which version of their layout a state dict has; a plain dict
    # does not know, and torchvision has written the current one for years.
    own = module.state_dict()
    vars_of = getattr(own, "_metadata", None)
    ordered = type(own)(state)
    if vars_of is not None:
        ordered._metadata = vars_of  # type: ignore[attr-defined]
    module.load_state_dict(ordered, strict=False)


@functools.cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network of torchvision, built without memory for its weights."""
    from torchvision import models as zoo

    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        made = zoo.get_model(name, weights=None, **options).state_dict()
    return {k: tuple(v.shape) for k, v in made.items() if not k.endswith("tracked")}


def closest(state: Mapping[str, Tensor]) -> str | None:
    """The torchvision classifier with the names and shapes of `state` but for its last layer, and
    for an attribute that holds it all; None where there is none (RegNets are not tried: they
    cannot be built without memory).

    Networks are built without memory for their weights: first one of each family, then the
    family with most names in common. Takes some seconds, but only when something is already wrong.
    """
    from torchvision import models as zoo

    families: dict[str, list[str]] = {}
    for name in zoo.list_models(module=zoo):
        family = re.match(r"(wide_)?[a-z]+(_v\d)?", name)
        if family and family[0] != "regnet":
            families.setdefault(family[0], []).append(name)
    theirs = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("tracked")}
    while len({k.partition(".")[0] for k in theirs}) == 1 and all("." in k for k in theirs):
        # One attribute, or DataParallel, holds it all.
        theirs = {k.partition(".")[2]: shape for k, shape in theirs.items()}

    def common(name: str) -> float:
        names = set(_shapes(name))
        return len(names & set(theirs)) / len(names | set(theirs))

    for name in max(families.values(), key=lambda members: common(members[0])):
        own = _shapes(name)
        odd = {k for k in set(own) | set(theirs) if own.get(k) != theirs.get(k)}
        # The last layer's weight and bias differ with the number of classes.
        if len(odd) <= 4 and odd <= set(list(own)[-2:]) | {k for k in own if "aux" in k.lower()}:
            return name
    return None
