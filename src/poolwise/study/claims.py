"""The five reasons why people pool, each held against the numbers.

Each claim is asked twice: against networks that do not reduce resolution (is it so?), and against a strided convolution, which
reduces it without pooling (is it pooling, or any reduction?). Each of the two questions has its comparisons corrected together,
so for each the chance that anything is shown where there is nothing is 5 %. Every word of an answer follows from the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .answers import Answer, Claim, Row
from .measures import Records
from .purposes import Purpose, Question, purposes, questions
from .reasons import ALL
from .record import Header, Run, Variant

__all__ = ["Answer", "Claim", "Purpose", "Question", "Row", "judge", "purposes", "questions"]


def judge(header: Header, variants: Sequence[Variant], runs: Iterable[Run]) -> tuple[Claim, ...]:
    """The five claims, in the order in which they are usually told.

    Parameters
    ----------
    header, variants, runs
        The records of one study, complete or not.

    Returns
    -------
    tuple of Claim
    """
    records = Records(header, variants, runs)
    return tuple(reason(records) for reason in ALL)
