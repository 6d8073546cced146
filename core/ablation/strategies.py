"""The three strategies for logits after an edit, each checked against the network.

Disabling sets a unit's whole map to 0; more generally an :class:`core.ablation.edits.Edit`
multiplies it by a factor or clamps it to one value. A strategy is taken only where a numerical
check says that it agrees with the network and with the logits that the run recorded, never by a
name. They are asked in this order:

``closed form``     the head is a global average and one linear layer. An edit that changes the
                    mean of unit t by d_t changes the logits by Σ_t d_t·W_t, for all images at
                    once. Equal to the network with the edit in place: the recorded means are
                    those of its own float32 maps. Compared kind by kind
                    (:func:`core.ablation.edits.kind_of`): an edit of a kind that fails is
                    computed by one of the strategies below. Behind such a layer, a dictionary's
                    codes have a closed form too (:mod:`core.models.dictionary`).
``replayed tail``   everything after the layer is run again on the recorded maps. Equal to the
                    network *whose layer is rounded to the recorded type* and then edited: half
                    precision by default, the network itself with ``--map-type float32``. Before
                    and after are both of that network, so their difference is the edit's alone.
``whole forward``   the maps do not decide the logits (a skip connection runs past the layer), or
                    none were kept: the network runs whole, with a hook, on the dataset's photos.
                    Equal to the network. Where the dataset is gone or has changed, on the run's
                    stored photos, which are JPEGs: before and after are then both of those. A
                    network whose answers depend on the other photos of a batch runs on the run's
                    own batches, whole.

What was found is in the :class:`core.ablation.check.Check` of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from core.ablation.check import Check
from core.ablation.closed_form import ClosedForm, Reach
from core.ablation.edits import Change, kind_of
from core.ablation.forward import forward_edited, tail_of
from core.ablation.images import dataset_photos, stored_photos
from core.ablation.recorded import BLOCK, Recorded
from core.ablation.replay import Replay, Tail, Whole
from core.ablation.subject import Subject
from core.explain.photo import open_model
from core.foundation.errors import UnitscopeError
from core.models.dictionary import dictionary_of
from core.models.head import CLOSE, agree, batch_words, by_batch, linear_head
from core.models.hooks import tokens_beside

NO_HEAD = "the head is not an average and one linear layer"


@dataclass(frozen=True)
class Refused:
    """A strategy that does not agree. why : in words. probes : see :class:`Check`."""

    why: str
    probes: Mapping[str, float] | None = None


def agreed(subject: Subject, closed: str = "") -> ClosedForm | Replay:
    """The first strategy that agrees, ready to answer.

    closed : why closed form is not to be taken, where it is not.
    """
    first = Refused(closed) if closed else closed_form(subject)
    if isinstance(first, ClosedForm):
        return first
    idle = ""
    if np.array_equal(subject.hooked, subject.plain):
        idle = (
            "; with a quarter of its units disabled the network answers the same to the last bit "
            "on the photos compared: its answer does not come from these maps"
        )
    second = replayed_tail(subject)
    source: Tail | Whole
    if isinstance(second, Refused):
        source, check = whole_forward(subject)
        why = f"{first.why}, and {second.why}{idle}; {check.why}"
    else:
        source, check = second
        why = f"{first.why}; {check.why}{idle}"
    if subject.mixed:
        why += "; the run was recorded in mixed precision and is replayed in float32"
    return Replay(subject.recorded, source, replace(check, why=why, probes=first.probes))


# -- closed form ----------------------------------------------------------------------------


class Proof:
    """The closed form of a layer against a forward hook, one kind of edit after the other.

    On a few photos a random quarter of the units is edited. ``reach`` has what was found.

    Parameters
    ----------
    subject : the layer, its network and the photos. weights, bias : of the linear head.
    """

    def __init__(self, subject: Subject, weights: np.ndarray, bias: np.ndarray):
        # Not the subject itself: its network would be kept as long as the toggler.
        self.run, self.layer = subject.recorded.run, subject.recorded.layer
        self.inputs, self.off = subject.inputs, subject.off
        self.means = subject.maps.mean((2, 3)).numpy()
        self.weights, self.bias = weights, bias
        self.reach = Reach({}, {}, CLOSE, self.attempt)
        # Clamps are tried at ± the largest absolute activation on these photos.
        strongest = max(1.0, float(subject.maps.abs().max()))
        scaled = [(factor, 0.0) for factor in (1.0, 0.0, 0.5, 2.0, -1.0)]
        for scale, shift in [*scaled, (0.0, strongest), (0.0, -strongest)]:
            kind, strength = kind_of(scale, shift)
            found = self._agreement(subject.model.module, scale, shift)
            self.reach.probes[kind] = found
            if found <= CLOSE:
                self.reach.reach[kind] = strength

    def _agreement(self, module: nn.Module, scale: float, shift: float) -> float:
        change = Change.nothing(self.means.shape[1])
        change.scale[self.off], change.shift[self.off] = scale, shift
        hooked = forward_edited(module, self.layer, self.inputs, change).numpy()
        computed = (self.means * change.scale + change.shift) @ self.weights + self.bias
        return agree(computed, hooked)

    def attempt(self, scale: float, shift: float) -> float:
        """The agreement for one more edit, on the network opened again."""
        return self._agreement(open_model(self.run).module, scale, shift)


def attempt_again(recorded: Recorded, scale: float, shift: float) -> float:
    """:meth:`Proof.attempt` where the proof was kept and its photos were not; infinite where the
    network no longer has the closed form."""
    found = closed_form(Subject.of(recorded))
    if isinstance(found, Refused) or found.reach is None:
        return float("inf")
    return found.reach.attempt(scale, shift)


def closed_form(subject: Subject) -> ClosedForm | Refused:
    """Does arithmetic on the recorded means agree, with a forward hook on the photos compared
    (units unedited and disabled at least) and with the recorded logits on all images?"""
    recorded = subject.recorded
    head = linear_head(subject.model.module, recorded.layer, subject.inputs)
    if head is None:
        return _through_dictionary(subject)
    _, weights, bias = head
    reach = Proof(subject, weights, bias).reach
    probes, head_is = reach.probes, "one linear layer reads the means of its maps"
    for kind in ("unedited", "disabled"):
        if kind not in reach.reach:
            return Refused(
                f"{head_is}, but with units {kind} it differs from a forward hook by "
                f"{probes[kind]:.1e}",
                probes,
            )
    gap, worst = _beside_recorded(recorded, weights, bias)
    # Recorded in bfloat16, a sum of products is off by a few of its units in the last place.
    if gap > (4 * torch.finfo(torch.bfloat16).eps if subject.mixed else 10 * CLOSE):
        return Refused(
            f"{head_is} on the photos compared, but logits from the recorded means differ from the "
            f"recorded logits by up to {gap:.1e} of the largest "
            f"(image {recorded.images['id'].iloc[worst]!r})",
            probes,
        )
    why = "the means of its maps go through one linear layer to the output"
    base = recorded.logits
    if gap > 10 * CLOSE:
        base = recorded.pooled @ weights + bias
        why += (
            f"; recorded logits, in mixed precision, differ from it by up to {gap:.1e} of the "
            "largest, so unedited logits are computed too"
        )
    why += _failing(reach)
    check = Check(
        max(probes[kind] for kind in reach.reach),
        why,
        recorded=gap,
        flipped=int((base.argmax(1) != recorded.images["predicted"].to_numpy()).sum()),
        probes=probes,
    )
    return ClosedForm(recorded, weights, base, check, reach)


def _beside_recorded(
    recorded: Recorded, weights: np.ndarray, bias: np.ndarray
) -> tuple[float, int]:
    """(:func:`core.models.head.agree` of logits from the recorded means with the recorded ones, the
    row that differs most), block by block."""
    most, at, largest = 0.0, 0, 1.0
    for a in range(0, len(recorded.logits), BLOCK):
        held = recorded.logits[a : a + BLOCK]
        apart = np.abs(recorded.pooled[a : a + BLOCK] @ weights + bias - held).max(1)
        largest = max(largest, float(np.abs(held).max()))
        if not np.isfinite(apart).all():
            return float("inf"), a + int(apart.argmax())
        if apart.max() > most:
            most, at = float(apart.max()), a + int(apart.argmax())
    return most / largest, at


def _through_dictionary(subject: Subject) -> ClosedForm | Refused:
    """The closed form of a dictionary's codes, whose changes are added to a layer that has one: a
    change of the codes' means by d changes that layer's means by D·d, and the logits by W·D·d. What
    the codes do not explain is carried along unchanged, so unedited logits are the recorded ones.
    """
    recorded = subject.recorded
    dictionary = dictionary_of(subject.model.module, recorded.layer)
    if dictionary is None:
        return Refused(NO_HEAD)
    head = linear_head(subject.model.module, dictionary.behind, subject.inputs)
    if head is None:
        return Refused(f"what follows {dictionary.behind} is not an average and one linear layer")
    weights = dictionary.decoder.detach().cpu().numpy().T @ head[1]
    means = subject.maps.mean((2, 3)).numpy()
    # On the photos compared, what of each one's logits does not come from the codes.
    reach = Proof(subject, weights, subject.plain - means @ weights).reach
    why = f"codes go through the decoder, the means of {dictionary.behind} and one linear layer"
    if "disabled" not in reach.reach:
        return Refused(
            f"{why}, but with units disabled it differs from a forward hook by "
            f"{reach.probes['disabled']:.1e}",
            reach.probes,
        )
    base = recorded.logits
    check = Check(
        max(reach.probes[kind] for kind in reach.reach),
        f"{why} to the output; the reconstruction error is carried along{_failing(reach)}",
        recorded=0.0,
        flipped=int((base.argmax(1) != recorded.images["predicted"].to_numpy()).sum()),
        probes=reach.probes,
    )
    return ClosedForm(recorded, weights, base, check, reach)


def _failing(reach: Reach) -> str:
    """Which kinds of edits the closed form fails for, as the end of a sentence; "" where none."""
    failed = [
        f"units {kind} (by {found:.1e})"
        for kind, found in reach.probes.items()
        if kind not in reach.reach
    ]
    return f"; this fails for {', '.join(failed)}: such edits run the network" if failed else ""


# -- replayed tail --------------------------------------------------------------------------


def replayed_tail(subject: Subject) -> tuple[Tail, Check] | Refused:
    """Does what follows the layer, cut off and run on its maps, agree with the network on the
    photos compared, as they are and edited, together and alone?"""
    tail = _cut_off(subject)
    if isinstance(tail, Refused):
        return tail
    norms = by_batch(tail.tail)
    if norms:
        return Refused(
            f"what follows the layer normalises by the batch at hand ({norms[0]}), so that a "
            "replay in other batches would answer otherwise"
        )
    maps, plain = subject.maps, subject.plain
    apart = tokens_beside(subject.raw, subject.size)
    nothing = Change.nothing(len(subject.change.scale))
    agreement = max(
        agree(tail.logits((maps, apart), nothing), plain),
        agree(tail.logits((maps, apart), subject.change), subject.hooked),
    )
    first = (maps[:1], None if apart is None else apart[:1])
    try:
        alone = agree(tail.logits(first, nothing), plain[:1])
    except (ValueError, RuntimeError):  # a batch norm that one value a channel does not do for
        alone = float("inf")
    if alone > CLOSE >= agreement:
        return Refused(
            f"what follows the layer answers otherwise for a photo alone (by {alone:.1e}), so that "
            "a replay in other batches would differ"
        )
    if agreement > CLOSE:
        return Refused(f"the tail cut off behind the layer differs by {agreement:.1e}")
    kind = subject.settings.map_type
    why = f"what follows the layer is run again on its {kind} maps"
    if kind == "float16":
        rounded = (maps.half().float(), None if apart is None else apart.half().float())
        moved = agree(tail.logits(rounded, nothing), plain)
        why += (
            f", and that rounding moves the logits of the photos compared by up to {moved:.1e} of "
            "the largest"
        )
    return tail, Check(agreement, why)


def _cut_off(subject: Subject) -> Tail | Refused:
    """What follows the layer, with the recorded maps that it runs on."""
    run, name = subject.recorded.run, subject.recorded.layer
    raw, maps, size = subject.raw, subject.maps, subject.size
    if not subject.settings.keep_maps:
        return Refused("the run kept no maps (--no-maps)")
    stored = run.array(f"maps-{name}")
    if not isinstance(raw, Tensor):
        return Refused(f"the layer gives {type(raw).__name__}, of which one tensor was recorded")
    apart = tokens_beside(raw, size)
    tokens = None
    if apart is not None:
        try:
            tokens = run.array(f"beside-{name}")
        except UnitscopeError:
            return Refused(
                f"the run did not record the layer's {apart.shape[1]} tokens beside its maps"
            )
    if maps.shape[1:] != stored.shape[1:]:
        return Refused(f"the recorded maps are {stored.shape[1:]}, not {tuple(maps.shape[1:])}")
    graph = tail_of(subject.model.module, name)
    if graph is None:
        return Refused(
            "what follows the layer cannot be cut off: the network cannot be traced, or its "
            "output also depends on what runs past the layer"
        )
    last = raw.ndim == 4 and raw.is_contiguous(memory_format=torch.channels_last)
    return Tail(stored, tokens, graph, name, raw.shape, size, last)


# -- whole forward --------------------------------------------------------------------------


def whole_forward(subject: Subject) -> tuple[Whole, Check]:
    """The whole network, edited by a hook: on the dataset's photos if it still gives the recorded
    logits for those compared, else on the run's stored photos."""
    recorded, model = subject.recorded, subject.model
    words = batch_words(model.module, subject.inputs)
    batch = subject.settings.batch if words else 0
    batches = f", in the run's own batches of {batch} ({words})" if words else ""

    def on(photos: Callable[[np.ndarray], np.ndarray]) -> Whole:
        return Whole(subject.forward, recorded, photos, batch)

    try:
        source = on(dataset_photos(recorded.run, model.preprocessing))
        loaded = source.load(recorded.numbers[subject.picks])
        gave = source.logits(loaded, Change.nothing(recorded.pooled.shape[1]))
        if agree(gave, recorded.logits[subject.picks]) <= 10 * CLOSE:
            why = f"the network runs whole, on the dataset's photos{batches}"
            return source, Check(why=why, photos="dataset")
        gone = "the dataset's photos no longer give the recorded logits"
    except (UnitscopeError, KeyError, OSError) as err:
        gone = f"the dataset cannot be read ({err})"
    why = f"the network runs whole, on the run's stored photos (JPEG): {gone}{batches}"
    stored = on(lambda some: stored_photos(recorded.run, model.preprocessing, some))
    return stored, Check(why=why, photos="stored")
