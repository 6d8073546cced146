"""Wide arrays beside a run: .npy files read and written by rows, and checked before use.

A run file may come from a stranger, and numba kernels use the numbers in these arrays as places in
others: :func:`array_header` checks shape and type, :func:`check_ids` the concept ids.
"""

from __future__ import annotations

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np

from core.foundation.errors import Damaged, UnitscopeError
from core.foundation.files import write_whole

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    SyntaxError,
    tokenize.TokenError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise at a file that is no .npy or .npz. Its header is read as Python's
text: a bracket that is not closed is a TokenError, a list for a key a TypeError, a number beyond
64 bits an OverflowError; an entry that is encrypted is a RuntimeError."""


class ArrayFile:
    """A .npy file of rows, written and read by position with plain reads and writes.

    No memory map: mapped pages count as this process's memory, and a dissection's must not
    grow with the number of images. The file is a normal .npy that ``np.load`` opens.
    """

    def __init__(self, path: Path, shape: Sequence[int] = (), dtype: Any = None, first: int = 0):
        """Open `path`, to be read alone; where a shape is given, create it where it is missing,
        filled with zeros, and open it to be written too.

        first : the position that its first row stands at, where it is a part of a longer array.

        Raises UnitscopeError where the file is no array of numbers, or, with a shape given, an
        array of another shape or type.
        """
        self.path, self.first = path, first
        if shape and not path.exists():
            fresh = path.with_suffix(".new")
            with fresh.open("wb") as f:
                header = {
                    "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                    "fortran_order": False,
                    "shape": tuple(int(n) for n in shape),
                }
                np.lib.format.write_array_header_1_0(f, header)
                f.truncate(
                    f.tell() + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
                )
            fresh.rename(path)
        self.shape, self.dtype, self._start = array_header(path)
        if shape and (self.shape != tuple(shape) or self.dtype != np.dtype(dtype)):
            raise UnitscopeError(
                f"{path} holds {self.dtype} {self.shape}, not {np.dtype(dtype)} {tuple(shape)}"
            )
        self._row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._file = os.open(path, os.O_RDWR if shape else os.O_RDONLY)

    def write(self, first: int, rows: np.ndarray) -> None:
        """Put `rows` at positions first … first + len(rows) − 1."""
        place = first - self.first
        if rows.shape[1:] != self.shape[1:] or not 0 <= place <= self.shape[0] - len(rows):
            raise UnitscopeError(f"{self.path.name}: rows {rows.shape} into {self.shape}")
        data = np.ascontiguousarray(rows, self.dtype).reshape(-1).view(np.uint8).data
        at = self._start + place * self._row
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written

    def read(self, first: int, count: int) -> np.ndarray:
        """Rows first … first + count − 1, as a fresh array.

        Raises UnitscopeError where there are no such rows.
        """
        place = first - self.first
        if not 0 <= place <= place + count <= self.shape[0]:
            raise UnitscopeError(
                f"{self.path.name} has rows {self.first} to {self.first + self.shape[0] - 1}, "
                f"not {first} to {first + count - 1}"
            )
        want = count * self._row
        at = self._start + place * self._row
        parts = []
        while want:
            part = os.pread(self._file, want, at)
            if not part:
                raise UnitscopeError(f"{self.path} is shorter than its header says")
            parts.append(part)
            want, at = want - len(part), at + len(part)
        return np.frombuffer(b"".join(parts), self.dtype).reshape(count, *self.shape[1:])

    def close(self) -> None:
        """Let the file go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def array_header(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """(shape, type, place of the first value) of a .npy file.

    Raises Damaged where the file is none, is shorter than its header says, or holds
    anything but numbers in C order.
    """
    try:
        with path.open("rb") as f:
            shape, dtype = read_header(f)
            start = f.tell()
            size = os.fstat(f.fileno()).st_size
    except UNREADABLE as err:
        raise Damaged(f"{path} is no array file ({err}); make the run again") from err
    # Python's integers: a header may claim more than 64 bits count.
    need = start + dtype.itemsize * math.prod(int(n) for n in shape)
    if size < need:
        raise Damaged(f"{path} is cut short: {size:,} bytes of {need:,}; make the run again")
    return shape, dtype, start


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, type) at the beginning of a .npy file, of which the values come next.

    Raises one of :data:`UNREADABLE` where it holds anything but numbers in C order.
    """
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or dtype.kind not in "uif" or fortran or any(n < 0 for n in shape):
        raise ValueError(f"it holds {dtype} {shape}, which no run writes")
    return tuple(shape), dtype


def array_name(name: str) -> str:
    """An array's name as a file name: a layer may be called anything.

    >>> array_name("maps-conv/1")
    'maps-conv%2F1'
    """
    return quote(name, safe="-_. ")


def check_ids(labels: np.ndarray, concepts: int, source: str = "an array of label maps") -> None:
    """Raise Damaged where label maps hold an id above `concepts`: a kernel would use it as a place
    outside its arrays. `source` names them in the message."""
    if labels.size and int(labels.max()) > concepts:
        raise Damaged(
            f"{source} holds concept {int(labels.max())}, and there are {concepts}: it is damaged "
            "or of another run; make the run again"
        )


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Keep arrays as an .npz, whole or not at all, for :func:`read_arrays`.

    Raises UnitscopeError as :func:`core.foundation.files.write_whole`.
    """

    def write(fresh: Path) -> None:
        with fresh.open("wb") as f:
            np.savez(f, allow_pickle=False, **arrays)

    write_whole(path, write)


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz (or the one of an .npy, by the name ``array``) that was kept for speed.

    None where there is none, or it is damaged: it is then worked out again.
    """
    try:
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return {"array": held}
        with held:
            return {name: held[name] for name in held.files}
    except UNREADABLE:
        return None
