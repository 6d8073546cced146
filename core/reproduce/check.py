"""Which inputs of a profile are present, and which are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.reproduce.profiles import (
    Metrics,
    Networks,
    Part,
    Profile,
    Retrainings,
)


@dataclass(frozen=True)
class Input:
    """One need of a profile.

    Attributes
    ----------
    key, what : its name, and what it is. files, missing : all of its files; those not there.
    bring : how to get it. parts : keys that want it. instead : needs that would do as well.
    needed : is it missing, and nothing that would do is there?
    """

    key: str
    what: str
    files: list[str]
    missing: list[str]
    bring: str
    parts: list[str]
    instead: list[str]
    needed: bool


@dataclass(frozen=True)
class Checked:
    """What of a profile's inputs is there.

    Attributes
    ----------
    inputs : of each need.
    specs : key of ``either`` → the SPEC taken.
    absent : key of a need that is not there → in words what is missing and how to get it.
    left_out : part → why it cannot be made at all.
    """

    inputs: list[Input]
    specs: dict[str, str]
    absent: dict[str, str]
    left_out: dict[str, str]


def check(profile: Profile, data: Path, keys: Sequence[str]) -> Checked:
    """Look for every file that the parts `keys` need; nothing is opened."""
    missing = {key: need.missing(data) for key, need in profile.needs.items()}
    specs: dict[str, str] = {}
    stands_for: dict[str, str] = {}
    for key, options in profile.either.items():
        there = [one for one in options if not any(missing[need] for need in one[1])]
        specs[key] = (there or list(options))[0][0]
        for _, needs in options:
            for need in needs:
                stands_for[need] = key
    absent = {
        key: f"{need.what}: {', '.join(missing[key])} not found; {need.bring(data)}"
        for key, need in profile.needs.items()
        if missing[key]
    }
    for key, options in profile.either.items():
        if all(any(missing[need] for need in needs) for _, needs in options):
            choices = [absent[need] for _, needs in options for need in needs if need in absent]
            absent[key] = "none of these: " + "; or ".join(choices)
        else:
            absent.pop(key, None)
    wanted: dict[str, list[str]] = {key: [] for key in profile.needs}
    left_out: dict[str, str] = {}
    for key in keys:
        if key not in profile.parts:
            left_out[key] = f"profile {profile.name} has nothing for it"
            continue
        sets = needs_of(profile, profile.parts[key])
        for need in dict.fromkeys(one for needs in sets for one in needs):
            for name in [n for n, of in stands_for.items() if of == need] or [need]:
                wanted[name].append(key)
        if not any(all(need not in absent for need in needs) for needs in sets):
            left_out[key] = "; ".join(
                dict.fromkeys(absent[n] for needs in sets for n in needs if n in absent)
            )
    inputs = []
    for key, asked in profile.needs.items():
        of = stands_for.get(key, key)
        instead = [n for _, needs in profile.either.get(of, ()) if key not in needs for n in needs]
        inputs.append(
            Input(
                key,
                asked.what,
                [file.replace("{data}", str(data)) for file in asked.files],
                missing[key],
                asked.bring(data),
                wanted[key],
                instead,
                needed=bool(missing[key]) and of in absent,
            )
        )
    return Checked(inputs, specs, absent, left_out)


def needs_of(profile: Profile, part: Part) -> list[tuple[str, ...]]:
    """Sets of needs; the part can be made where one of them is there whole."""
    graph = profile.knowledge[1]
    if isinstance(part, Retrainings):
        return [(*needs, graph) for _, needs in part.models.values()]
    return [(*profile.runs[run][1], graph) for run in runs_of(part)]


def runs_of(part: Part) -> list[str]:
    """Keys of the runs that a part is made from."""
    if isinstance(part, (Networks, Metrics)):
        return list(dict.fromkeys(part.runs.values()))
    return [] if isinstance(part, Retrainings) else [part.run]
