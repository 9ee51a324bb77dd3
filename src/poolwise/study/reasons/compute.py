"""It reduces spatial resolution, and so compute: counts are exact and need no seeds; times are shown beside them."""

from __future__ import annotations

from collections.abc import Sequence

from .. import wording
from ..answers import IS_IT_POOLING, IS_IT_SO, TIME_MARGIN, Answer, Claim, Row, seen, why_not
from ..measures import Records
from ..statistics import Verdict

__all__ = ["compute"]

COUNTS = (
    ("Multiply-adds of an image", "multiply_adds", "count"),
    ("All layers' outputs, one image", "activation_bytes", "bytes"),
)
STEP = ("Training step", "train_ms", "ms")
TIMES = (STEP, ("Answering a batch", "infer_ms", "ms"))


def compute(records: Records) -> Claim:
    """The claim's box."""
    pooled, nothing, strided = seen(records)
    answers, strength = [], []
    for question, control, missing in (
        (IS_IT_SO, nothing, "a network without reduction"),
        (IS_IT_POOLING, strided, "a strided convolution"),
    ):
        if not pooled or not control:
            answers.append(Answer(question, Verdict.NOT_MEASURED, why_not(records, pooled, control, missing), ()))
            continue
        every = {cost[0]: _rows(records, pooled, control[0], cost) for cost in (*COUNTS, *TIMES)}
        answers.append(_answer(question, control[0], every))
        strength += [_ratio(what, rows) for what, rows in every.items()]
    return Claim(
        "compute", "Resolution and compute", "Pooling reduces spatial resolution, and so computation and memory.",
        "Multiply-adds of convolutions and the linear layer and bytes of all layers' outputs, counted; time of a training step "
        f"and of answering, for {wording.plural(records.header.settings.batch, 'image')}, median on one thread of this "
        "machine.",
        tuple(answers), tuple(strength),
        (),
        (f"Times are one median each, without intervals, of this machine and these layers: differences under {TIME_MARGIN * 100:.0f} % "
         "are not read.",),
    )  # fmt: skip


def _rows(records: Records, pooled: Sequence[str], control: str, cost: tuple[str, str, str]) -> list[Row]:
    """One cost of every pooling variant against the control's, the costliest last."""
    what, field, unit = cost
    base = float(getattr(records.variants[control], field))
    costs = sorted((float(getattr(records.variants[name], field)), name) for name in pooled)
    return [
        Row(f"{name}: {what[0].lower()}{what[1:]}", (name, control), unit, -1, counted=(cost_, base))
        for cost_, name in costs
    ]


def _pair(row: Row) -> tuple[float, float]:
    assert row.counted is not None
    return row.counted


def _ratio(what: str, rows: Sequence[Row]) -> str:
    """How much more the control takes, from the costliest pooling variant to the cheapest."""
    ratios = sorted(second / first for first, second in map(_pair, rows) if first > 0)
    if not ratios:
        return f"{what}: none were counted."
    ends = dict.fromkeys(wording.times(ratio).removesuffix(" times") for ratio in (ratios[0], ratios[-1]))
    return f"{what}: {' to '.join(ends)} times as much in {rows[0].sides[1]} as with pooling."


def _answer(question: str, side: str, every: dict[str, list[Row]]) -> Answer:
    exact = {what: every[what] for what, _, _ in COUNTS}
    signs = {row.favour for rows in exact.values() for row in rows}
    timed = every[STEP[0]]
    not_faster = [row.sides[0] for row in timed if row.favour < 1]
    slower = [row.sides[0] for row in timed if row.favour < 0]
    if signs == {1}:
        verdict = Verdict.IN_PART if not_faster else Verdict.HELD
        text = f"Every pooling variant needs fewer multiply-adds and less memory than {side}"
        if not_faster:
            text += f", but on this machine a training step was not faster with {wording.listed(not_faster)}"
        else:
            text += ", and every training step was faster on this machine"
    elif 1 not in signs:
        verdict = Verdict.HELD_NOT if -1 in signs else Verdict.NOT_SHOWN
        text = f"No pooling variant needs fewer multiply-adds or less memory than {side}"
        text += f"; a training step was slower with {wording.listed(slower)}" if slower else ""
    else:
        verdict = Verdict.IN_PART
        less = [f"{what[0].lower()}{what[1:]}" for what, rows in exact.items() if {row.favour for row in rows} == {1}]
        text = f"Not all counts of all pooling variants are lower than those of {side}"
        text += f"; lower for all: {wording.listed(less)}" if less else ""
    # The costliest stands for all: what it saves, every other saves.
    return Answer(question, verdict, text + ".", tuple(rows[-1] for rows in every.values()))
