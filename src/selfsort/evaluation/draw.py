"""Which pictures are checked for a certificate, and in what order: a lottery that anyone can repeat.

Every picture has a ticket, the SHA-256 of `SEED/NUMBER/ID` (NUMBER counts the samples drawn before, ID is the
picture's), and the smallest tickets are drawn first; election audits draw in this way (Rivest, "Consistent sampling
with replacement", arXiv:1808.10016, section 1). The quarter of the pictures that the model doubts most is one stratum,
the rest the other; every third picture is drawn from the doubtful quarter. So a doubtful picture is one and a half
times as likely to be drawn as another, and each sample is the beginning of every longer one.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_QUARTER = 4
_EVERY = 3  # one of this many pictures drawn is doubtful


@dataclass(frozen=True, eq=False)
class SampleDraw:
    """The order in which pictures are checked, fixed before anybody looks.

    Attributes
    ----------
    order : (M,) positions of all pictures but the known ones, in the order in which they are checked
    doubtful : (N,) bool, which of all pictures are in the doubtful stratum
    known : (N,) bool, which were checked before this sample was drawn

    """

    order: NDArray[np.int64]
    doubtful: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @classmethod
    def make(
        cls,
        ids: Sequence[str],
        doubtful: NDArray[np.bool_],
        seed: int,
        number: int = 0,
        known: NDArray[np.bool_] | None = None,
    ) -> "SampleDraw":
        """Draw all pictures with these N `ids`, except the `known` (N,) ones, in order."""
        known = np.zeros(len(ids), np.bool_) if known is None else known
        drawn = np.flatnonzero(~known).tolist()
        ranked = np.array(sorted(drawn, key=lambda place: ticket(seed, number, ids[place])), np.int64)
        return cls(_taking_turns(ranked[~doubtful[ranked]], ranked[doubtful[ranked]]), doubtful, known)


def ticket(seed: int, number: int, image_id: str) -> bytes:
    """Return the ticket of a picture in a sample before which `number` others were drawn."""
    return hashlib.sha256(f"{seed}/{number}/".encode() + image_id.encode("utf-8", "surrogateescape")).digest()


def most_doubtful(doubt: ArrayLike) -> NDArray[np.bool_]:
    """Tell which quarter of the pictures has the largest `doubt` (N,); ties go to the first."""
    values = np.asarray(doubt)
    chosen = np.zeros(len(values), np.bool_)
    chosen[np.argsort(-values, kind="stable")[: len(values) // _QUARTER]] = True
    return chosen


def turns(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (…, 2): how many of the first n (…) are not doubtful, and how many are, as long as both strata last."""
    return np.stack([n - n // _EVERY, n // _EVERY], -1)


def _taking_turns(sure: NDArray[np.int64], doubtful: NDArray[np.int64]) -> NDArray[np.int64]:
    # The doubtful are at places 2, 5, 8 …, the others between; once one stratum is used up, the rest of the other.
    places = [np.arange(len(doubtful)) * _EVERY + _EVERY - 1, _between(len(sure))]
    order = np.argsort(np.concatenate(places), kind="stable")
    drawn: NDArray[np.int64] = np.concatenate([doubtful, sure])[order]
    return drawn


def _between(n: int) -> NDArray[np.int64]:
    numbers = np.arange(n)
    return numbers // (_EVERY - 1) * _EVERY + numbers % (_EVERY - 1)


def packed(flags: NDArray[np.bool_]) -> str:
    """Return flags (N,) as text: eight per byte, the first being the highest bit, in base64.

    >>> packed(np.array([True, False, False]))
    'gA=='
    """
    return base64.b64encode(np.packbits(flags).tobytes()).decode()


def unpacked(text: str, n: int) -> NDArray[np.bool_]:
    """Undo `packed` for n flags; raise ValueError for a text that does not hold that many."""
    try:
        data = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    if len(data) != -(-n // 8):
        raise ValueError(f"it does not hold {n:,} pictures")
    return np.unpackbits(data, count=n).astype(np.bool_)
