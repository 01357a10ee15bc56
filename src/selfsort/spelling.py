"""Names as people see them: without invisible characters, compared without case and spaces, sorted by number."""

import re
import unicodedata

# Default_Ignorable_Code_Point: nothing is drawn for them. The Braille blank is not a space, but looks like one.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Within Persian words and between the parts of an emoji they are visible.
_JOINERS = "\u200c\u200d\ufe0f"
_SPACES = re.compile(r"\s+")
_DIGITS = re.compile(r"(\d+)")

JUNK = "junk"  # what pictures of no use are called; it is no name
# The page's word for it in each of its languages: whoever types one of them means it, in whatever language.
JUNK_WORDS = (JUNK, "Ausschuss", "rebut", "descarte", "废片")


def visible(text: str) -> str:
    r"""Return a text in composed letters and with single spaces, without invisible characters.

    Bytes of a file name that are not UTF-8 are kept.

    >>> visible(" cat\u200d \n\u202e to\u0301m "), visible("\U0001f469\u200d\U0001f52c") == "\U0001f469\u200d\U0001f52c"
    ('cat tóm', True)
    """
    spaced = _SPACES.sub(" ", text)
    kept = "".join(letter for place, letter in enumerate(spaced) if _is_seen(letter) or _joins(spaced, place))
    return unicodedata.normalize("NFC", _SPACES.sub(" ", kept).strip())


def _is_seen(letter: str) -> bool:
    return not _UNSEEN.match(letter) and (letter.isprintable() or "\udc80" <= letter <= "\udcff")


def _joins(text: str, place: int) -> bool:
    """Tell whether a joiner is between two letters, or after a symbol, whose look it may change."""
    if text[place] not in _JOINERS:
        return False
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if text[place] == "\ufe0f":
        return _is_joined(before)
    return (_is_joined(before) or before == "\ufe0f") and _is_joined(after)


def _is_joined(letter: str) -> bool:
    return not letter.isascii() and _is_seen(letter) and not letter.isspace()


def folded(name: str) -> str:
    r"""Return a name without what people overlook: case, spaces and invisible characters.

    >>> folded("Red  Rose") == folded("redrose\u200b")
    True
    """
    return _UNSEEN.sub("", "".join(visible(name).split())).casefold()


def is_junk(name: str) -> bool:
    """Tell whether a name is one of `JUNK_WORDS`, but for case, spaces and invisible characters.

    >>> is_junk(" Junk"), is_junk("AUSSCHUSS"), is_junk("junk shop")
    (True, True, False)
    """
    return folded(name) in _JUNK


_JUNK = frozenset(map(folded, JUNK_WORDS))


def counting_order(name: str) -> list[tuple[int, str]]:
    """Return a sort key under which numbers in names are in numerical order.

    >>> sorted(["10", "2", "b1", "A", "1"], key=counting_order)
    ['1', '2', '10', 'A', 'b1']
    """
    parts = _DIGITS.split(name.casefold())
    return [(len(part.lstrip("0")), part.lstrip("0")) if place % 2 else (0, part) for place, part in enumerate(parts)]


def counted(n: int, what: str, many: str = "") -> str:
    """Write a number of things, as one or as `many` (by default `what` and "s").

    >>> counted(1, "picture"), counted(2500, "picture"), counted(0, "class", "classes")
    ('1 picture', '2,500 pictures', '0 classes')
    """
    return f"{n:,} {what if n == 1 else many or f'{what}s'}"
