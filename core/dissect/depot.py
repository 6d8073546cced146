"""Shards of a run that lie elsewhere: ``run --shards-at s3://bucket/folder``.

A machine that has no folder in common with the others puts its shards there and takes theirs from
there, below ``<digest>.shards/`` as in a folder of runs. What comes from there is believed no more
than any other shard (:mod:`core.dissect.shards`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from core.dissect.plan import Plan
from core.dissect.shard_file import Shard, folder_of
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Report, Stop, never
from core.foundation.stores import Entry, Store, checked_name, get, list_store, open_store, put


class Depot:
    """The shards of one run, elsewhere.

    Raises UnitscopeError where `url` is no address, or one that cannot be written to.
    """

    def __init__(self, plan: Plan, root: Path, url: str):
        self._plan, self._folder = plan, folder_of(plan, root)
        self.url = url.rstrip("/")
        if not url.startswith("s3://"):
            raise UnitscopeError(f"--shards-at {url}: shards are put at s3://bucket/folder alone")
        # Time of change of what came from there, or lies there.
        self._brought: dict[str, int] = {}
        self._store: Store = open_store(f"{self.url}/{self._folder.name}")

    def listing(self) -> dict[str, Entry]:
        """The shards that lie there by their file's name; none where there is nothing yet."""
        return {
            checked_name(name): entry
            for name, entry in list_store(self._store).items()
            if "/" not in name and PurePosixPath(name).suffix == ".npz"
        }

    def bring(
        self,
        names: Collection[str] | None = None,
        progress: Report | None = None,
        stop: Stop = never,
    ) -> None:
        """Copy shards here that are not here yet, in their size: of those names, or all.

        Raises UnitscopeError where one cannot be had; Stopped.
        """
        there = self.listing()
        missing = [
            name
            for name, entry in there.items()
            if (names is None or name in names) and not self._here(name, entry)
        ]
        meter = Meter(progress)
        meter.start("fetch shards", len(missing), of="shards")
        for name in missing:
            path = self._folder / name
            get(self._store, name, there[name], path, stop)
            self._brought[name] = path.stat().st_mtime_ns
            meter.step()

    def send(self, shard: Shard) -> None:
        """Put a shard there, where what came from there is not the same. Raises UnitscopeError."""
        name, now = shard.path.name, shard.path.stat().st_mtime_ns
        if self._brought.get(name) != now:
            put(self._store, name, shard.path)
            self._brought[name] = now

    def _here(self, name: str, entry: Entry) -> bool:
        path = self._folder / name
        return path.is_file() and path.stat().st_size == entry.size
