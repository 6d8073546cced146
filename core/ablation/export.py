"""Export of an edited network: state, folded checkpoint, program, and an account of the edit.

:func:`write_edit` leaves in a folder

``NAME.pt``         state dict of the whole network with the edit in two buffers of the edited
                    layer, and what is needed to rebuild it. Loads with ``weights_only=True``.
                    ``python:core.ablation.export:load:NAME.pt`` is its SPEC: it can be run,
                    dissected and explained like any other network, under the same layer names.
``NAME-folded.pt``  only with a linear head (closed form): a checkpoint of the unchanged
                    architecture, the edit folded into the head's weights. Loads anywhere.
``NAME.pt2``        the edited network as a ``torch.export`` program, any number of images.
``NAME.txt``        what was done to which network and why, what it does to accuracy, and how
                    far the reloaded files are from the edited network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from core.ablation.edits import Change, Edit, Edits, as_edits
from core.ablation.forward import forward_edited
from core.ablation.images import stored_photos
from core.ablation.result import Toggled
from core.ablation.toggler import Toggler
from core.explain.photo import open_model
from core.foundation.digest import digest_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import write_text, write_whole
from core.foundation.plain import Json
from core.foundation.progress import Hooks
from core.foundation.trust import check_named
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.dictionary import dictionary_of
from core.models.fit import fill
from core.models.forward import Forward
from core.models.head import CLOSE, PROBES, agree, first_of, linear_head
from core.models.hooks import as_maps, find_layer
from core.models.load import load_model
from core.models.outputs import put_back, taken

SCALE, SHIFT = "unitscope_scale", "unitscope_shift"
"""Names of the edit's buffers in the edited layer's part of the state dict."""

FORMAT = 1
"""Of the .pt file."""


def put_edit(module: nn.Module, layer: str, scale: Tensor, shift: Tensor) -> nn.Module:
    """Make a network's layer give scale·map + shift for every unit, for good.

    scale, shift : float32 (units,); they become buffers of the layer, so that they are part of
    the network's state dict and digest. Class and register tokens are left alone. Returns the
    network. Raises for an unknown layer, or one that was edited before.
    """
    part = find_layer(module, layer)
    if SCALE in dict(part.named_buffers(recurse=False)):
        raise UnitscopeError(f"layer {layer!r} is edited already; edit the original network")
    part.register_buffer(SCALE, scale.clone())
    part.register_buffer(SHIFT, shift.clone())
    seen: list[tuple[int, int] | None] = [None]

    def start(_module: nn.Module, args: Any) -> None:
        image = args[0]
        seen[0] = (image.shape[2], image.shape[3]) if image.ndim == 4 else None

    def hook(edited: nn.Module, _args: Any, output: Any) -> Any:
        fresh = taken(output).tensor.clone()
        view = as_maps(fresh, layer, seen[0])
        scale, shift = (
            values.to(view.dtype)[None, :, None, None]
            for name, values in edited.named_buffers(recurse=False)
            if name in (SCALE, SHIFT)
        )
        view.mul_(scale).add_(shift)
        return put_back(output, fresh)

    module.register_forward_pre_hook(start)
    part.register_forward_hook(hook)
    return module


def load(path: Path) -> tuple[nn.Module, Json]:
    """The edited network of a .pt file: ``python:core.ablation.export:load:FILE.pt``.

    The original network is rebuilt by its SPEC (so its checkpoint must still be where it was,
    from the current folder), its weights replaced by the file's, the edit put in. Raises
    UnitscopeError where the file is no such file, does not fit, or names code that it may not.
    """
    state, notes = read_checkpoint(Path(path))
    facts = notes.get("unitscope_edit")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UnitscopeError(
            f"{path} was not written by `python -m core edit`; a folded file is an ordinary "
            "checkpoint, as torchvision:NAME:FILE"
        )
    layer = str(facts["layer"])
    scale, shift = state.pop(f"{layer}.{SCALE}"), state.pop(f"{layer}.{SHIFT}")
    # Whoever typed this file's name typed none of what the file names.
    check_named(str(facts["model"]), str(path))
    original = load_model(str(facts["model"]))
    fill(original.module, state, str(path))
    put_edit(original.module, layer, scale, shift)
    return original.module, {
        "preprocessing": original.preprocessing,
        "classes": original.classes,
        "default_layer": original.default_layer,
        "edited": facts["words"],
    }


@dataclass(frozen=True)
class Written:
    """What :func:`write_edit` left.

    files : by kind (``state``, ``folded``, ``program``, ``text``). differences : largest
    difference of each reloaded network's logits from the edited network's, as a share of the
    largest logit, on a few stored photos. left_out : kind → why it was not written. effects :
    by split, and ``all``.
    """

    files: dict[str, Path]
    differences: dict[str, float]
    left_out: dict[str, str]
    effects: dict[str, Toggled]


def write_edit(
    toggler: Toggler,
    edits: Edits,
    folder: Path,
    chosen: str = "by hand",
    kinds: Sequence[str] = ("state", "folded", "program"),
    **hooks: Unpack[Hooks],
) -> Written:
    """Write the run's network with its units edited (see the module's text).

    chosen : how the units were chosen, in words, for the text file. kinds : which files besides
    the text. Raises UnitscopeError for unknown units, an edit of nothing, or where a reloaded
    file does not give the edited network's logits.
    """
    for kind in kinds:
        if kind not in ("state", "folded", "program"):
            raise unknown("kind of file", kind, ("state", "folded", "program"))
    run, layer = toggler.run, toggler.layer
    listed = as_edits(edits)
    change = Change.of(listed, toggler.units)
    if not len(change.touched):
        raise UnitscopeError("the edit changes no unit")
    effects = _effects(toggler, listed, **hooks)
    model = open_model(run)
    numbers = toggler.images["image"].to_numpy()
    picks = np.linspace(0, len(numbers) - 1, min(PROBES, len(numbers))).astype(int)
    inputs = Forward(model, [layer]).inputs(stored_photos(run, model.preprocessing, numbers[picks]))
    wanted = forward_edited(model.module, layer, inputs, change)
    key = [run.digest, layer, change.scale.tolist(), change.shift.tolist()]
    name = f"edited-{digest_of(key)[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    differences: dict[str, float] = {}
    left_out: dict[str, str] = {}

    def keep(kind: str, path: Path, gave: Any) -> None:
        differences[kind] = agree(first_of(gave).numpy(), wanted.numpy())
        if differences[kind] > CLOSE:
            raise UnitscopeError(
                f"{path} was written, but reloaded it differs from the edited network by "
                f"{differences[kind]:.1e} of the largest logit; do not use it"
            )
        files[kind] = path

    facts = {
        "format": FORMAT,
        "model": model.spec,
        "layer": layer,
        "run": run.digest,
        "words": _words(listed),
        "chosen": chosen,
    }
    answering = toggler.answering(listed)
    head = linear_head(model.module, layer, inputs) if answering.weights is not None else None
    if "folded" in kinds and dictionary_of(model.module, layer) is not None:
        left_out["folded"] = (
            "which features a cell has is decided for each cell by their order, and the "
            "architecture without the dictionary cannot do that"
        )
    elif "folded" in kinds and head is None:
        left_out["folded"] = f"there is no linear head to fold it into: {answering.check.why}"
    elif "folded" in kinds and head is not None:
        path = folder / f"{name}-folded.pt"
        keep("folded", path, _write_folded(path, model, head, change, facts, inputs))
    put_edit(model.module, layer, torch.from_numpy(change.scale), torch.from_numpy(change.shift))
    if "state" in kinds:
        path = folder / f"{name}.pt"
        keep("state", path, _write_state(path, model.module, facts, inputs))
    if "program" in kinds:
        path = folder / f"{name}.pt2"
        try:
            gave = _write_program(path, model.module, inputs)
        except Exception as err:  # a user's own network may do what cannot be exported
            left_out["program"] = f"torch.export cannot trace it: {str(err).splitlines()[0]}"
        else:
            keep("program", path, gave)
    text = folder / f"{name}.txt"
    written = Written({**files, "text": text}, differences, left_out, effects)
    write_text(text, _account(toggler, listed, chosen, written))
    return written


def _words(edits: Sequence[Edit]) -> str:
    """``2 units disabled: 3, 17``, and the like."""
    return "; ".join(f"{edit.words()}: {', '.join(map(str, edit.units))}" for edit in edits)


def _effects(toggler: Toggler, edits: Edits, **hooks: Unpack[Hooks]) -> dict[str, Toggled]:
    """What edits do to all images, and to each split where there are several."""
    effects = {"all": toggler.toggle(edits, **hooks)}
    splits = toggler.images["split"].unique().tolist()
    for split in splits if len(splits) > 1 else []:
        effects[str(split)] = toggler.toggle(edits, splits=[split], **hooks)
    return effects


def _write_state(path: Path, module: nn.Module, facts: Json, inputs: Tensor) -> Any:
    """Write the edited network's state, load it again, run."""
    stored = {"state_dict": dict(module.state_dict()), "unitscope_edit": facts}
    write_whole(path, lambda fresh: torch.save(stored, fresh))
    with torch.inference_mode():
        return load_model(f"python:core.ablation.export:load:{path}").module(inputs)


def _write_folded(
    path: Path,
    model: LoadedModel,
    head: tuple[nn.Module, np.ndarray, np.ndarray],
    change: Change,
    facts: Json,
    inputs: Tensor,
) -> Any:
    """W' = diag(scale)·W and b' = b + shift·W in a checkpoint of the same architecture."""
    linear, weights, bias = head
    at = next(name for name, part in model.module.named_modules() if part is linear)
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    state = {k: v.clone() for k, v in before.items()}
    shape = state[f"{at}.weight"].shape
    state[f"{at}.weight"] = torch.from_numpy((change.scale[:, None] * weights).T.copy()).reshape(
        shape
    )
    if change.shift.any() and f"{at}.bias" not in state:
        raise UnitscopeError(f"units cannot be clamped in a folded file: {at} has no bias")
    if f"{at}.bias" in state:
        state[f"{at}.bias"] = torch.from_numpy(bias + change.shift @ weights)
    stored = {
        "state_dict": state,
        "classes": list(model.classes),
        "preprocessing": model.preprocessing.to_json(),
        "unitscope_edit_folded": facts,
    }
    write_whole(path, lambda fresh: torch.save(stored, fresh))
    again, _ = read_checkpoint(path)
    try:
        fill(model.module, again, str(path))
        with torch.inference_mode():
            return model.module(inputs)
    finally:
        fill(model.module, before, "the original")


def _write_program(path: Path, module: nn.Module, inputs: Tensor) -> Any:
    """Export, save, load again, run."""
    batch = torch.export.Dim("images", min=1, max=4096)
    example = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    # The format is known by the name, so that it is renamed only afterwards.
    fresh = path.with_name(f"{path.stem}.new.pt2")
    torch.export.save(program, fresh)
    fresh.replace(path)
    with torch.inference_mode():
        return torch.export.load(path).module()(inputs)


def _account(toggler: Toggler, edits: Sequence[Edit], chosen: str, written: Written) -> str:
    """The text file."""
    settings, effects = toggler.run.settings, written.effects
    lines = [
        "An edited network, written by Unitscope.",
        "",
        f"network     {settings.model.spec}",
        f"            digest {settings.model.digest}",
        f"dataset     {settings.dataset.spec}",
        f"run         {toggler.run.digest}",
        f"layer       {toggler.layer} ({toggler.units} units)",
        f"edit        {_words(edits)}",
        f"chosen      {chosen}",
        f"measured    {effects['all'].method}: {toggler.answering(edits).check.why}",
        "",
        "Accuracy on the run's images, with 95 % intervals. Where units were chosen on the same",
        "images, this says nothing of others.",
    ]
    for name, effect in effects.items():
        before, after = effect.accuracy
        gain = effect.gain
        lines.append(
            f"  {name:10} {before.value:7.2%} → {after.value:7.2%} [{after.low:.2%}, "
            f"{after.high:.2%}], change {gain.value:+.2%} [{gain.low:+.2%}, {gain.high:+.2%}], "
            f"{gain.gained} gained, {gain.lost} lost of {before.n}"
        )
    lines += ["", "Files, and how far each differs from the edited network when loaded again:"]
    how = {
        "state": "python -m core run --model python:core.ablation.export:load:{} …",
        "folded": "an ordinary checkpoint of the same architecture (key state_dict)",
        "program": "torch.export.load(…).module()(images)",
    }
    for kind, path in written.files.items():
        if kind == "text":
            continue
        lines.append(
            f"  {path.name}: {written.differences[kind]:.1e} of the largest logit; "
            + how[kind].format(path.name)
        )
    lines += [f"  no {kind} file: {why}" for kind, why in written.left_out.items()]
    preprocessing = json.dumps(settings.preprocessing, ensure_ascii=False)
    lines += ["", f"Photos must be prepared as for the original network: {preprocessing}", ""]
    return "\n".join(lines)
