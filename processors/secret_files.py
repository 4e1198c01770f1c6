"""Secrets in files, read anew whenever the file changes: a rotated secret needs no restart."""

from __future__ import annotations

from pathlib import Path

from consumer.errors import ProcessorSettingsError

_SIZE_MAX = 65_536


class SecretFile:
    """A file that holds one secret, with white space around it or without."""

    def __init__(self, path: Path, setting: str) -> None:
        self._path = path
        self._setting = setting
        self._seen: tuple[int, int, int] | None = None
        self._secret = ""

    def read(self) -> str:
        """The secret. Raises `ProcessorSettingsError`, without a word of what the file says."""
        try:
            found = self._path.stat()
            # A mounted secret is swapped by a link: the number of the file changes, its time may not.
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._secret = self._text(found.st_size)
                self._seen = seen
        except OSError as error:
            raise ProcessorSettingsError(
                f"{self._setting}: {self._path} cannot be read: {error.strerror or error}"
            ) from None
        return self._secret

    def _text(self, size: int) -> str:
        if size > _SIZE_MAX:
            raise ProcessorSettingsError(f"{self._setting}: {self._path} is too large for a secret")
        try:
            text = self._path.read_text("utf-8-sig").strip()
        except UnicodeDecodeError:
            # Not chained: the error holds the secret's bytes.
            raise ProcessorSettingsError(f"{self._setting}: {self._path} is not UTF-8 text") from None
        if not text:
            raise ProcessorSettingsError(f"{self._setting}: {self._path} is empty")
        return text
