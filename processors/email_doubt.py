"""Which mails may have been taken although nobody said so: what is sent again has to be the same mail.

The events of a mail come back one by one, in any order and with others. Put together anew they would be
another mail, with another Message-ID, and nobody could tell that it is a repetition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiosmtplib import SMTPResponseException

from consumer.events import Position
from processors.email_message import EVENTS_MAX, Letter

REMEMBERED_MAX = 2 * EVENTS_MAX
"""Events of mails in doubt; beyond it the oldest mail is forgotten, and its events go in any other."""

Mail = tuple[Letter, ...]


class Doubts:
    """Mails whose fate is not known."""

    def __init__(self) -> None:
        self._mails: dict[tuple[str, Position], Mail] = {}
        """By each of its events."""

    @contextmanager
    def handing_over(self, letters: Sequence[Letter]) -> Iterator[None]:
        """A mail is in doubt from here on, until the server answers within the block."""
        was_in_doubt = _effect_of(letters[0]) in self._mails
        self._note(tuple(letters))
        try:
            yield
        except SMTPResponseException as error:
            # A refusal for now says nothing of an earlier time that had no answer.
            if not was_in_doubt or error.code >= 500:
                self._settle(letters)
            raise
        self._settle(letters)

    def _note(self, mail: Mail) -> None:
        self._mails |= {_effect_of(letter): mail for letter in mail}
        while len(self._mails) > REMEMBERED_MAX:
            self._settle(next(iter(self._mails.values())))

    def _settle(self, letters: Sequence[Letter]) -> None:
        for letter in letters:
            self._mails.pop(_effect_of(letter), None)

    def mails_of(self, letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
        """The mails to send: those in doubt as they were, with all that was in them, then the rest."""
        doubtful: dict[int, Mail] = {}
        rest: list[Letter] = []
        for letter in letters:
            mail = self._mails.get(_effect_of(letter))
            if mail is None:
                rest.append(letter)
            else:
                doubtful[id(mail)] = mail
        yield from doubtful.values()
        for start in range(0, len(rest), EVENTS_MAX):
            yield rest[start : start + EVENTS_MAX]


def _effect_of(letter: Letter) -> tuple[str, Position]:
    return letter.key, letter.event.position
