"""Dictionaries in networks: nothing changes but by a hook on the codes; files of strangers."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from core.dissect.plan import plan
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.roots import check_spec
from core.foundation.settings import Retraining, Settings
from core.foundation.trust import check_named, innermost, source_digest, wrapped
from core.models.base import LoadedModel
from core.models.dictionary import (
    Dictionary,
    Origin,
    insert,
    load_dictionary,
    read_dictionary,
    write_dictionary,
)
from core.models.hooks import capture
from core.models.load import load_model
from core.models.untrained import untrained_twin
from core.retrain.plan import plan as retraining
from tests import tiny


def drawn(units: int, features: int, k: int, seed: int = 0, **origin: str) -> Dictionary:
    """A dictionary of random weights."""
    random = torch.Generator().manual_seed(seed)
    return Dictionary(
        torch.randn(features, units, generator=random),
        torch.randn(features, generator=random),
        torch.randn(units, features, generator=random),
        torch.randn(units, generator=random),
        k,
        torch.rand(features, generator=random),
        Origin(**origin),
    )


def dictionary_file(folder: Path, spec: str, layer: str, units: int, name: str = "d.pt") -> Path:
    """A random dictionary of a layer of a network, as a file."""
    made = drawn(units, 3 * units, 4, network=load_model(spec).digest(), layer=layer, spec=spec)
    write_dictionary(made, folder / name)
    return folder / name


# -- arithmetic -----------------------------------------------------------------------------


def slow_codes(dictionary: Dictionary, cell: np.ndarray) -> np.ndarray:
    """Codes of one cell, feature by feature."""
    rows, offsets = dictionary.encoder.numpy(), dictionary.encoder_bias.numpy()
    bias = dictionary.decoder_bias.numpy()
    values = []
    for feature in range(dictionary.features):
        value = float(offsets[feature])
        for unit in range(dictionary.units):
            value += float(rows[feature, unit]) * (float(cell[unit]) - float(bias[unit]))
        values.append(value)
    best = sorted(range(len(values)), key=lambda f: -values[f])[: dictionary.k]
    return np.array([max(v, 0.0) if f in best else 0.0 for f, v in enumerate(values)])


def slow_decoded(dictionary: Dictionary, codes: np.ndarray) -> np.ndarray:
    """x̂ of one cell, unit by unit."""
    columns, bias = dictionary.decoder.numpy(), dictionary.decoder_bias.numpy()
    return np.array(
        [
            float(bias[unit]) + sum(float(c) * float(columns[unit, f]) for f, c in enumerate(codes))
            for unit in range(dictionary.units)
        ]
    )


@given(
    units=st.integers(1, 6),
    features=st.integers(1, 9),
    k=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
def test_encode_and_decode_equal_plain_loops(units, features, k, seed):
    dictionary = drawn(units, features, min(k, features), seed)
    random = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, units, 2, 3, generator=random)
    codes = dictionary.encode(maps.movedim(1, -1))
    made = dictionary.decode(codes)
    for place in np.ndindex(2, 2, 3):
        image, y, x = place
        wanted = slow_codes(dictionary, maps[image, :, y, x].numpy())
        np.testing.assert_allclose(codes[place].numpy(), wanted, atol=1e-5)
        np.testing.assert_allclose(made[place].numpy(), slow_decoded(dictionary, wanted), atol=1e-4)
    assert int((codes > 0).sum(-1).max()) <= dictionary.k and float(codes.min()) >= 0


def test_forward_adds_what_changed_codes_decode_to():
    dictionary = drawn(5, 11, 3)
    maps = torch.randn(2, 5, 4, 4)
    assert torch.equal(dictionary(maps), maps)
    codes = dictionary.encode(maps.movedim(1, -1))
    handle = dictionary.codes.register_forward_hook(lambda _m, _a, out: out.mul_(2))
    changed = dictionary(maps)
    handle.remove()
    wanted = maps.movedim(1, -1) + codes @ dictionary.decoder.T
    torch.testing.assert_close(changed.movedim(1, -1), wanted)
    dictionary.carries_error = False
    torch.testing.assert_close(dictionary(maps).movedim(1, -1), dictionary.decode(codes))


# -- the untouched network ------------------------------------------------------------------


class Tokens(nn.Module):
    """A small vision transformer: a class token and a grid, read by the class token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(2))
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        return self.head(self.blocks(tokens)[:, 0])


def tokens() -> tuple[nn.Module, dict[str, Any]]:
    """The ``python:`` function of :class:`Tokens`."""
    return Tokens(), {**tiny.net()[1], "default_layer": "blocks.0"}


def chain() -> tuple[nn.Module, dict[str, Any]]:
    """A network that is one chain."""
    torch.manual_seed(1)
    links = (nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*links, nn.Linear(6, 3)), {**tiny.net()[1], "default_layer": "1"}


class Every(nn.Module):
    """A network that runs whatever submodules it has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.children():
            x = part(x)
        return x.mean((2, 3))


HERE = "python:tests.models.test_dictionary"


@pytest.mark.parametrize(
    ("spec", "layer", "units", "codes"),
    [
        (tiny.SPEC, "body.3", 12, "dictionary.codes"),
        (tiny.SPEC, "body.0", 8, "dictionary.codes"),
        (f"{HERE}:tokens", "blocks.0", 16, "dictionary.codes"),
        (f"{HERE}:chain", "1", 6, "dictionary.codes"),
        ("rooms", "layer4", 192, "dictionary.codes"),
        pytest.param(
            "torchvision:swin_t:random",
            "features.1",
            96,
            "dictionary.codes",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_untouched_network_gives_the_same_bits(tmp_path, spec, layer, units, codes):
    plain = load_model(spec)
    path = dictionary_file(tmp_path, spec, layer, units)
    model = load_model(f"dictionary:{path}@{spec}")
    assert model.default_layer == codes and model.classes == plain.classes
    assert model.preprocessing == plain.preprocessing
    inputs = plain.example()
    inputs = torch.randn(3, *inputs.shape[1:]).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), capture(model.module, [codes]) as found:
        assert torch.equal(model.module(inputs), plain.module(inputs))
    assert found[codes].shape[1] == 3 * units
    assert int((found[codes] > 0).sum(1).max()) == 4
    # And it is a layer like any other, whose units decide the answer.
    assert {one.name: one.units for one in model.layers()}[codes] == 3 * units
    hook = model.module.get_submodule(codes).register_forward_hook(lambda _m, _a, out: out * 0)
    with torch.inference_mode():
        assert not torch.allclose(model.module(inputs), plain.module(inputs))
    hook.remove()


def test_layers_keep_their_names_but_in_a_chain(tmp_path):
    path = dictionary_file(tmp_path, tiny.SPEC, "body.3", 12)
    model = load_model(f"dictionary:{path}@{tiny.SPEC}")
    assert {"body.1", "body.3"} < {one.name for one in model.layers()}
    path = dictionary_file(tmp_path, f"{HERE}:chain", "1", 6)
    model = load_model(f"dictionary:{path}@{HERE}:chain")
    assert {"network.0", "network.1"} < {one.name for one in model.layers()}


def test_tokens_beside_the_grid_are_left_alone(tmp_path):
    spec = f"{HERE}:tokens"
    path = dictionary_file(tmp_path, spec, "blocks.0", 16)
    model = load_model(f"dictionary:{path}@{spec}").module
    inputs = torch.randn(2, 3, 24, 24)
    kept: list[torch.Tensor] = []
    model.get_submodule("blocks.0").register_forward_hook(lambda _m, _a, out: kept.append(out))
    with torch.inference_mode():
        model(inputs)
        model.dictionary.codes.register_forward_hook(lambda _m, _a, out: out * 0)
        model(inputs)
    plain, changed = kept
    assert torch.equal(plain[:, 0], changed[:, 0])
    assert not torch.isclose(plain[:, 1:], changed[:, 1:]).all(2).any()


def test_two_dictionaries_stand_one_behind_the_other(tmp_path):
    first = dictionary_file(tmp_path, tiny.SPEC, "body.1", 8, "a.pt")
    inner = f"dictionary:{first}@{tiny.SPEC}"
    second = dictionary_file(tmp_path, inner, "body.3", 12, "b.pt")
    model, plain = load_model(f"dictionary:{second}@{inner}"), load_model(tiny.SPEC)
    assert model.default_layer == "dictionary2.codes"
    inputs = torch.randn(2, 3, 24, 24)
    with torch.inference_mode():
        assert torch.equal(model.module(inputs), plain.module(inputs))
    # The second is of the network with the first in it, and of no other.
    with pytest.raises(UnitscopeError, match="another network"):
        load_model(f"dictionary:{second}@{tiny.SPEC}")


def test_a_copy_of_the_network_has_a_copy_of_the_dictionary(tmp_path):
    path = dictionary_file(tmp_path, tiny.SPEC, "body.3", 12)
    model = load_model(f"dictionary:{path}@{tiny.SPEC}").module
    other = copy.deepcopy(model)
    inputs = torch.randn(2, 3, 24, 24)
    other.dictionary.codes.register_forward_hook(lambda _m, _a, out: out * 0)
    with torch.inference_mode():
        assert not torch.allclose(other(inputs), model(inputs))
        assert torch.equal(model(inputs), load_model(tiny.SPEC).module(inputs))


def test_a_network_that_runs_all_its_parts_is_refused():
    loaded = LoadedModel(Every().eval(), Preprocessing(), [], "own", "first")
    with pytest.raises(UnitscopeError, match="does it run all its submodules"):
        insert(loaded, drawn(6, 6, 2), "second")


def test_layers_that_cannot_have_one_are_refused():
    def loaded() -> LoadedModel:
        return load_model(tiny.SPEC)

    with pytest.raises(UnitscopeError, match=r"unknown layer 'body.9'; nearest"):
        insert(loaded(), drawn(12, 12, 2), "body.9")
    with pytest.raises(UnitscopeError, match=r"of 12 units, and body\.1 has 8"):
        insert(loaded(), drawn(12, 12, 2), "body.1")


# -- whose network --------------------------------------------------------------------------


def test_a_dictionary_of_another_network_is_refused(tmp_path):
    path = dictionary_file(tmp_path, tiny.SPEC, "body.3", 12)
    with pytest.raises(UnitscopeError, match="a dictionary of another network than") as err:
        load_model(f"dictionary:{path}@python:tests.tiny:learned")
    assert tiny.SPEC in str(err.value) and load_model(tiny.SPEC).digest()[:16] in str(err.value)
    state = tiny.Net().state_dict()
    state["head.bias"] += 1
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UnitscopeError, match="another network"):
        load_model(f"dictionary:{path}@{tiny.SPEC}:{tmp_path / 'w.pt'}")


def test_the_run_is_keyed_by_the_dictionarys_weights(tmp_path):
    photos = tiny.write_folder(tmp_path / "photos", 8)
    path = dictionary_file(tmp_path, tiny.SPEC, "body.3", 12)
    settings = Settings(f"folder:{photos}", f"dictionary:{path}@{tiny.SPEC}", shuffles=0, q=0.1)
    first = plan(settings)
    moved = tmp_path / "moved.pt"
    moved.write_bytes(path.read_bytes())
    same = replace(settings, model=f"dictionary:{moved}@{tiny.SPEC}")
    assert plan(same).digest == first.digest
    assert first.digest != plan(replace(settings, model=tiny.SPEC)).digest
    own = read_dictionary(path)
    for change in ("encoder", "decoder_bias"):
        state = own.state()
        state[change][0] += 1
        other = Dictionary(**state, k=own.k, origin=own.origin)
        write_dictionary(other, moved)
        assert plan(same).digest != first.digest
    write_dictionary(Dictionary(**own.state(), k=own.k + 1, origin=own.origin), moved)
    assert plan(same).digest != first.digest


def test_it_is_neither_untrained_nor_trained_again(tmp_path):
    path = dictionary_file(tmp_path, tiny.SPEC, "body.3", 12)
    spec = f"dictionary:{path}@{tiny.SPEC}"
    with pytest.raises(UnitscopeError, match="the untrained network has none"):
        untrained_twin(load_model(spec))
    with pytest.raises(UnitscopeError, match=f"train '{tiny.SPEC}'"):
        retraining(Retraining("rooms", spec))


# -- SPECs ----------------------------------------------------------------------------------


def test_the_spec_of_the_network_is_looked_into_before_code_is_run():
    held = "dictionary:a@b/c.pt@python:os:getcwd"
    assert innermost(held) == "python:os:getcwd"
    with pytest.raises(UnitscopeError, match="names code to run: function 'getcwd'"):
        check_named(held, "run 1")
    with pytest.raises(UnitscopeError, match="names code to run"):
        check_named(f"dictionary:x.pt@{held}", "run 1")
    check_named("dictionary:a.pt@rooms", "run 1")
    assert source_digest(f"dictionary:a.pt@{tiny.SPEC}") == source_digest(tiny.SPEC) is not None


def test_a_server_reads_dictionaries_below_its_roots_alone(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "link.pt").symlink_to(outside / "d.pt")
    weights = f"torchvision:resnet18:{inside / 'w.pt'}"
    check_spec(f"dictionary:{inside / 'd.pt'}@{weights}", [inside], "a form")
    check_spec(
        f"dictionary:{inside / 'd.pt'}@dictionary:{inside / 'e.pt'}@rooms", [inside], "a form"
    )
    for spec in (
        f"dictionary:{outside / 'd.pt'}@rooms",
        f"dictionary:{inside / 'link.pt'}@rooms",
        f"dictionary:{inside}/../out/d.pt@rooms",
        f"dictionary:{inside / 'd.pt'}@torchvision:resnet18:{outside / 'w.pt'}",
        f"dictionary:{inside / 'd.pt'}@dictionary:{outside / 'd.pt'}@rooms",
        "dictionary:README.md@rooms",
    ):
        with pytest.raises(UnitscopeError, match="not below the folders"):
            check_spec(spec, [inside], "a form")


@given(st.text("ab@:./\\", max_size=16))
def test_a_spec_is_parted_without_loss(rest):
    file, held = wrapped(f"dictionary:{rest}")
    assert rest == (f"{file}@{held}" if held else file)


def test_a_spec_without_a_network_says_which_it_is_of(tmp_path):
    path = dictionary_file(tmp_path, tiny.SPEC, "body.3", 12)
    with pytest.raises(UnitscopeError, match=rf"form is dictionary:FILE@SPEC.*{tiny.SPEC}"):
        load_model(f"dictionary:{path}")
    with pytest.raises(UnitscopeError, match="form is dictionary:FILE@SPEC"):
        load_dictionary("dictionary:@rooms", "@rooms")
    with pytest.raises(UnitscopeError, match="does not exist"):
        load_model(f"dictionary:{tmp_path / 'none.pt'}@rooms")


# -- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d.pt", "d.safetensors"])
def test_a_file_holds_all_of_it(tmp_path, name):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    origin = Origin("ab" * 32, "layer4", "rooms", "r", "rooms", {"seed": 3}, {"explained": [0.5]})
    made = Dictionary(**drawn(4, 6, 2).state(), k=2, origin=origin)
    write_dictionary(made, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    back = read_dictionary(tmp_path / name)
    assert back.origin == origin and back.digest() == made.digest() and back.k == 2
    for key, value in made.state().items():
        assert torch.equal(back.state()[key], value)
    write_dictionary(back, tmp_path / f"again-{name}")
    assert (tmp_path / f"again-{name}").read_bytes() == first
    with pytest.raises(UnitscopeError, match="names the network and layer"):
        write_dictionary(drawn(4, 6, 2), tmp_path / name)


def facts_of(**changed: Any) -> dict[str, Any]:
    facts = {"format": 1, "k": 2, "network": "ab" * 32, "layer": "layer4", **changed}
    return {key: value for key, value in facts.items() if value is not ...}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"format": 7}, "format 7; 1 is read"),
        ({"k": 0}, "k is 0; 1 to 6 features"),
        ({"k": 7}, "k is 7; 1 to 6 features"),
        ({"k": "2"}, "not a whole number"),
        ({"k": True}, "not a whole number"),
        ({"k": 10**30}, "1 to 6 features"),
        ({"network": "../../etc"}, "no digest of a network"),
        ({"network": ...}, "no digest of a network"),
        ({"layer": ""}, "names no layer"),
        ({"layer": ["layer4"]}, "layer is no short text"),
        ({"spec": "x" * 20_000}, "spec is no short text"),
    ],
)
def test_facts_of_strangers_are_checked(tmp_path, facts, said):
    path = tmp_path / "d.pt"
    stored = {"state_dict": drawn(4, 6, 2).state(), "dictionary": facts_of(**facts)}
    torch.save(stored, path)
    with pytest.raises(UnitscopeError, match=said) as err:
        read_dictionary(path)
    assert str(path) in str(err.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("encoder", torch.zeros(6), r"the encoder has shape \(6,\)"),
        ("encoder", torch.zeros(0, 4), "the encoder has shape"),
        ("encoder", torch.zeros(5, 4), "goes with an encoder of 5 features and 4 units"),
        ("encoder_bias", torch.zeros(6, 1), r"encoder_bias has shape \(6, 1\)"),
        ("decoder", torch.zeros(6, 4), r"decoder has shape \(6, 4\); \(4, 6\)"),
        ("decoder_bias", torch.tensor([0.0, 1.0, float("nan"), 0.0]), "no finite number"),
        ("encoder", torch.full((6, 4), float("inf")), "encoder holds what is no finite number"),
        ("decoder", torch.zeros(4, 6, dtype=torch.int64), "in single precision"),
        ("activity", torch.zeros(5), "activity has shape"),
        ("extra", torch.zeros(1), "holds the tensors activity, decoder"),
        ("encoder", None, "a dictionary has decoder, decoder_bias, encoder, encoder_bias"),
        ("encoder", torch.zeros(1).expand(4000, 4000), "made to fill the memory"),
    ],
)
def test_tensors_of_strangers_are_checked(tmp_path, name, value, said):
    state = drawn(4, 6, 2).state()
    state[name] = value
    path = tmp_path / "d.pt"
    kept = {key: one for key, one in state.items() if one is not None}
    torch.save({"state_dict": kept, "dictionary": facts_of()}, path)
    with pytest.raises(UnitscopeError, match=said):
        read_dictionary(path)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "d.pt"
    made = drawn(4, 6, 2, network="ab" * 32, layer="layer4")
    write_dictionary(made, path)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(UnitscopeError, match=r"d\.pt"):
            read_dictionary(path)
    torch.save(tiny.Net().state_dict(), path)
    with pytest.raises(UnitscopeError, match="holds no dictionary"):
        read_dictionary(path)
    torch.save({"state_dict": made.state(), "dictionary": facts_of(), "run": print}, path)
    with pytest.raises(UnitscopeError, match="cannot be read safely"):
        read_dictionary(path)


def test_metadata_of_safetensors_are_text_of_strangers(tmp_path):
    package = pytest.importorskip("safetensors.torch")
    path = tmp_path / "d.safetensors"
    for text in ("[1, 2]", "7", "{", json.dumps({"k": 2})):
        package.save_file(drawn(4, 6, 2).state(), path, {"dictionary": text})
        with pytest.raises(UnitscopeError, match="holds no dictionary"):
            read_dictionary(path)
    deep = '{"format":1,"k":2,"training":' + "[" * 5000 + "]" * 5000 + "}"
    package.save_file(drawn(4, 6, 2).state(), path, {"dictionary": deep})
    with pytest.raises(UnitscopeError):
        read_dictionary(path)
