"""The file of a shard: a zip of .npy members, written whole, read without being believed.

No member is compressed, and no date or path of a machine is in it, so that one shard is the same
bytes wherever it is made. The last one, ``header``, says what the file is a part of, and the
SHA-256 of every other member.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from core.dissect.plan import BATCH, Plan, hashed
from core.foundation.errors import Damaged, UnitscopeError
from core.foundation.files import parse_json
from core.runs.arrays import UNREADABLE, array_name
from core.runs.arrays import read_header as read_array_header

FORMAT = 1
"""Raised where shard files are laid out otherwise."""

BLOCK = 4 << 20
"""Bytes of a shard that are held at once."""

HEADER = 64 << 20
"""Bytes that a header may have: one has some hundred for each array."""


@dataclass(frozen=True)
class Shard:
    """A shard file, as its header describes it.

    Attributes
    ----------
    first, last : its images are those at places first … last − 1 of the run.
    members : SHA-256 of each member by name.
    thresholds : of the second pass, the digest of what it counted above.
    """

    path: Path
    first: int
    last: int
    members: dict[str, str]
    thresholds: str = ""

    @property
    def images(self) -> str:
        """Its images in words."""
        return f"images {self.first:,} to {self.last - 1:,}"


class Passes(NamedTuple):
    """What shard files hold of a run: those of the first pass, and those of the second."""

    shards: Sequence[Shard] = ()
    counts: Sequence[Shard] = ()


def folder_of(plan: Plan, root: Path) -> Path:
    """Where the shards of a run lie."""
    return root / f"{plan.digest}.shards"


# -- writing -----------------------------------------------------------------------------------


def put(out: zipfile.ZipFile, name: str, parts: Iterable[bytes]) -> str:
    """Write a member that consists of `parts`; returns its SHA-256."""
    # Dated 1980 and of one system, so that the same bytes come out wherever it is made.
    entry = zipfile.ZipInfo(f"{array_name(name)}.npy")
    entry.external_attr, entry.create_system = 0o600 << 16, 3
    digest = hashlib.sha256()
    with out.open(entry, "w", force_zip64=True) as member:
        for part in parts:
            member.write(part)
            digest.update(part)
    return digest.hexdigest()


def array_bytes(values: np.ndarray) -> Iterator[bytes]:
    out = io.BytesIO()
    np.lib.format.write_array(out, values, version=(1, 0), allow_pickle=False)
    yield out.getvalue()


def blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def json_array(facts: Any) -> np.ndarray:
    """Plain data as an array of the bytes of its JSON."""
    return np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)


def write_header(
    out: zipfile.ZipFile,
    plan: Plan,
    kind: str,
    rows: tuple[int, int],
    members: Mapping[str, str],
    **more: str,
) -> None:
    """Write what the shard is: of which run, pass and images, with its members' SHA-256."""
    header = {
        "format": FORMAT,
        "run": plan.digest,
        "facts": hashed(plan.facts),
        "pass": kind,
        "images": len(plan.indices),
        "rows": list(rows),
        "members": dict(members),
        **more,
    }
    put(out, "header", array_bytes(json_array(header)))


# -- reading -----------------------------------------------------------------------------------


class _Hashed:
    """A file that is read once, and the SHA-256 of what was read."""

    def __init__(self, file: IO[bytes]):
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def read(
    path: Path, name: str, digest: str | None, shape: tuple[int | None, ...], dtype: Any
) -> Iterator[np.ndarray]:
    """The rows of one member, some at a time; None in `shape` stands for any number of them.

    Raises Damaged where there is no such array, or its bytes are not of that digest.
    """
    try:
        with zipfile.ZipFile(path) as held:
            entry = held.getinfo(f"{array_name(name)}.npy")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise ValueError(f"{name} is compressed or encrypted")
            with held.open(entry) as member:
                file = _Hashed(member)
                found, kind = read_array_header(file)  # type: ignore[arg-type]
                expected = tuple(found[0] if n is None and found else n for n in shape)
                if found != expected or kind != np.dtype(dtype):
                    raise ValueError(f"{name} is {kind} {found}, not {np.dtype(dtype)} {expected}")
                row = int(np.prod(found[1:], dtype=np.int64)) * kind.itemsize
                step = max(1, BLOCK // max(1, row))
                for at in range(0, found[0], step):
                    count = min(step, found[0] - at)
                    data = file.read(count * row)
                    if len(data) < count * row:
                        raise EOFError(f"{name} ends early")
                    yield np.frombuffer(data, kind).reshape(count, *found[1:])
                if file.read(1):
                    raise ValueError(f"{name} is longer than it says")
                if digest is not None and file.sha256.hexdigest() != digest:
                    raise ValueError(f"{name} is not what was written")
    except UNREADABLE as err:
        raise Damaged(
            f"{path} is damaged, or no shard ({err}); remove it and make it again"
        ) from err


def read_header(plan: Plan, path: Path, kind: str) -> Shard:
    """What a file says that it is: a shard of the pass `kind`. Raises Damaged where it is no shard,
    UnitscopeError where it is one of another run."""
    size, parts = 0, []
    for block in read(path, "header", None, (None,), np.uint8):
        parts.append(block.tobytes())
        size += len(block)
        if size > HEADER:
            raise Damaged(f"{path} is no shard: its header is too long")
    broken = Damaged(f"{path} is damaged, or no shard; remove it and make it again")
    try:
        header = parse_json(b"".join(parts))
    except ValueError as err:
        raise broken from err
    if not isinstance(header, dict) or header.get("pass") != kind:
        raise broken
    if header.get("format") != FORMAT:
        raise UnitscopeError(f"{path} is a shard of another version of Unitscope; make it again")
    if header.get("run") != plan.digest:
        own, facts = json.loads(json.dumps(hashed(plan.facts))), header.get("facts")
        theirs = facts if isinstance(facts, dict) else {}
        other = ", ".join(name for name in own if own[name] != theirs.get(name)) or "facts"
        raise UnitscopeError(
            f"{path} is a shard of run {str(header.get('run'))[:16]}, not of {plan.digest}; these "
            f"differ: {other}"
        )
    n, rows, members = len(plan.indices), header.get("rows"), header.get("members")
    if not (isinstance(rows, list) and [type(k) for k in rows] == [int, int]):
        raise broken
    a, b = rows
    if not (header.get("images") == n and 0 <= a < b <= n):
        raise broken
    if a % BATCH or (b % BATCH and b < n):
        raise broken
    if not isinstance(members, dict) or not all(isinstance(s, str) for s in members.values()):
        raise broken
    return Shard(path, a, b, members, str(header.get("thresholds", "")))
