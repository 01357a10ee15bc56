"""Facts about a name: a short description that everybody sees, a note, and a colour."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, spelt
from selfsort.labelling.store import Store
from selfsort.spelling import visible

LONGEST_DESCRIPTION, LONGEST_NOTE = 200, 2000
_FACT = "about"
_COLOUR = re.compile("#[0-9a-f]{6}")


@dataclass(frozen=True)
class About:
    """Facts about a name.

    Attributes
    ----------
    description : at most 200 characters for whoever names pictures: what counts as one, and what does not
    note : at most 2000 characters, in any number of lines
    colour : such as "#3f90da"; if empty, the page chooses one

    """

    description: str = ""
    note: str = ""
    colour: str = ""

    @classmethod
    def of(cls, description: str, note: str, colour: str) -> "About":
        """Return the facts without invisible characters.

        Raises
        ------
        UserError
            For a text that is too long, or a colour that is not one.

        """
        short, long = visible(description), "\n".join(visible(line) for line in note.strip().splitlines())
        for what, text, most in (("description", short, LONGEST_DESCRIPTION), ("note", long, LONGEST_NOTE)):
            if len(text) > most:
                sentence = f"The {what} has {len(text):,} characters: use at most {most:,}."
                raise UserError(sentence, code="long-text", n=len(text), most=most)
        if colour and not _COLOUR.fullmatch(colour.lower()):
            raise UserError(f"{colour!r} is not a colour: give one such as '#3f90da'.")
        return cls(short, long, colour.lower())

    def to_json(self) -> dict[str, str]:
        """Return the facts that are not empty."""
        return {name: text for name, text in asdict(self).items() if text}


def read_about(store: Store) -> dict[str, About]:
    """Return the facts about each name."""
    return store.get(_FACT, dict[str, About]) or {}


def write_about(store: Store, name: str, about: About) -> None:
    """Store the facts about a name, replacing earlier ones."""
    _put(store, read_about(store) | {name: about})


def follow_merge(store: Store, event: Event) -> bool:
    """Let a name without facts take them from a name merged into it; return whether it did.

    The merged names keep their facts, as the merge may be taken back.
    """
    known, stays = read_about(store), spelt(event.name)
    found = next((known[name] for name in map(spelt, event.names) if name in known), None)
    if found is None or stays in known:
        return False
    _put(store, known | {stays: found})
    return True


def _put(store: Store, known: Mapping[str, About]) -> None:
    rows: dict[str, Any] = {name: about.to_json() for name, about in known.items() if about.to_json()}
    store.put(_FACT, rows)
