"""The data folder of a namespace: a lock, and a journal for every partition, `<hub>/<partition>/`."""

from __future__ import annotations

from pathlib import Path

from consumer.errors import ConfigurationError, StoreUnavailable
from consumer.hub.disk import FolderLock, SegmentJournal
from consumer.hub.log import PartitionLog


class Storage:
    """What of a local hub outlives it; without a folder nothing does."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock: FolderLock | None = None
        self._journals: list[SegmentJournal] = []

    def open(self, logs: dict[tuple[str, str], PartitionLog]) -> None:
        """Fill logs, named by hub and partition, with what the folder has, and have them write to it.

        Raises `StoreUnavailable`, `CorruptState`, `ConfigurationError` if the folder has more partitions.
        """
        if self._folder is None:
            return
        try:
            self._lock = FolderLock(self._folder)
            _expect_all_known(self._folder, logs)
            for (hub, partition), log in logs.items():
                journal = SegmentJournal(self._folder / hub.casefold() / partition)
                self._journals.append(journal)
                log.restore(journal.load(), journal)
        except OSError as error:
            self.close()
            raise StoreUnavailable(f"The data folder {self._folder} cannot be used: {error}.") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder; doing so twice changes nothing."""
        journals, self._journals = self._journals, []
        for journal in journals:
            journal.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _expect_all_known(folder: Path, logs: dict[tuple[str, str], PartitionLog]) -> None:
    """A partition that is on disk and not in the settings would silently disappear."""
    configured = {(hub.casefold(), partition) for hub, partition in logs}
    hubs = {hub for hub, _ in configured}
    for path in sorted(folder.glob("*/*/")):
        hub, partition = path.parent.name, path.name
        if hub in hubs and (hub, partition) not in configured:
            raise ConfigurationError(
                f"The settings lack partition {partition} of the hub {hub!r}, which {folder} has."
            )
