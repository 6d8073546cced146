"""Datasets: `open_dataset` turns a SPEC into a :class:`~core.datasets.base.SceneDataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.datasets.base import SceneDataset
from core.datasets.registry import DATASETS
from core.foundation.errors import UnitscopeError
from core.foundation.roots import check_run_files
from core.foundation.stores import check_copied, local
from core.foundation.trust import check_named

if TYPE_CHECKING:
    from core.runs.run_file import Run


def open_dataset(spec: str) -> SceneDataset:
    """The dataset that a SPEC names, its tables read and checked, no photo touched yet.

    >>> open_dataset("brodn:data")
    Traceback (most recent call last):
    core.foundation.errors.UnitscopeError: unknown dataset 'brodn:data'; nearest: \
broden:DIR[:INDEX]; forms: rooms, ade20k:DIR, ade150:DIR, nyuv2:DIR, broden:DIR[:INDEX], \
coco:DIR[:stuff|:instances], opensurfaces:DIR, folder:DIR, python:package.module:function[:REST]

    A folder that is an address, as in ``folder:s3://bucket/photos``, is read through its copy below
    the cache (:mod:`core.foundation.stores`).

    Raises
    ------
    UnitscopeError
        for a kind that does not exist (with the forms of those that do), and where the reader
        finds nothing to read; :class:`core.foundation.errors.BadFile` where one of the dataset's
        tables is unusable.
    """
    spec = spec.strip()
    kind, _, rest = spec.partition(":")
    row = DATASETS.row(kind, spec)
    rest, note = local(rest) if kind != "python" else (rest, "")
    dataset = row.load()(rest)
    if not isinstance(dataset, SceneDataset):
        raise UnitscopeError(f"{spec!r} opened a {type(dataset).__name__}, not a SceneDataset")
    if note:
        dataset.notes.append(note)
    dataset.check()
    return dataset


def dataset_of(run: Run) -> SceneDataset:
    """The dataset that a run was made of, opened again.

    Raises UnitscopeError where the run file names code that the user has not allowed
    (:func:`core.foundation.trust.check_named`), files that this server does not read
    (:func:`core.foundation.roots.check_run_files`) or an address that nobody asked for here
    (:func:`core.foundation.stores.check_copied`), and as :func:`open_dataset` does.
    """
    stored = run.settings.dataset
    check_named(stored.spec, f"run {run.digest}", stored.code)
    check_run_files(stored.spec, f"run {run.digest}")
    check_copied(stored.spec, f"run {run.digest}")
    return open_dataset(stored.spec)
