"""Verdicts where the truth is planted, and every number of a claim worked out again another way."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

scipy_stats = pytest.importorskip("scipy.stats")

import synthetic  # noqa: E402
from synthetic import FAILS, HOLDS, MAIN, NOTHING, POOLING, Truth, study  # noqa: E402

from poolwise.study.answers import Row  # noqa: E402
from poolwise.study.claims import judge, purposes, questions  # noqa: E402
from poolwise.study.record import Run  # noqa: E402
from poolwise.study.statistics import Verdict  # noqa: E402

CLAIMS = ("compute", "overfitting", "field", "translation", "features")


def verdicts(truth: Truth, seed: int = 0, **changes: object) -> dict[str, tuple[Verdict, Verdict]]:
    return {claim.key: (claim.verdict, claim.beyond) for claim in judge(*study(truth, seed, **changes))}


def test_claims_that_hold() -> None:
    found = verdicts(HOLDS)
    assert tuple(found) == CLAIMS
    assert {key: first for key, (first, _) in found.items()} == dict.fromkeys(CLAIMS, Verdict.HELD)
    assert found["compute"][1] is Verdict.HELD_NOT  # strides cost less still
    assert found["translation"][1] is Verdict.HELD


def test_claims_that_fail() -> None:
    found = verdicts(FAILS)
    assert {found[key] for key in ("overfitting", "translation")} == {(Verdict.HELD_NOT, Verdict.HELD_NOT)}
    assert found["features"][0] is Verdict.HELD_NOT
    assert found["field"][0] is Verdict.IN_PART  # larger in theory, smaller in effect


def test_nothing_to_find() -> None:
    found = verdicts(NOTHING)
    for key in ("overfitting", "translation", "features"):
        assert set(found[key]) == {Verdict.NOT_SHOWN}, key


def test_a_smaller_gap_with_a_worse_test_error_is_no_gain() -> None:
    claim = judge(*study(Truth(noise=0.004, gap_pooling=-0.04, error_pooling=0.05)))[1]
    assert claim.verdict is Verdict.HELD_NOT
    assert "no gain" in claim.answers[0].text


def test_a_larger_gap_with_a_better_test_error_is_no_loss() -> None:
    claim = judge(*study(Truth(noise=0.004, gap_pooling=0.04, error_pooling=-0.05)))[1]
    assert claim.verdict is Verdict.IN_PART
    assert "no loss" in claim.answers[0].text
    worse = judge(*study(Truth(noise=0.004, gap_pooling=0.04, error_pooling=0.05)))[1]
    assert worse.verdict is Verdict.HELD_NOT and "no loss" not in worse.answers[0].text


def test_a_smaller_gap_alone_is_held_in_part() -> None:
    claim = judge(*study(Truth(noise=0.01, gap_pooling=-0.06)))[1]
    assert claim.verdict is Verdict.IN_PART
    assert "not shown to be a gain" in claim.answers[0].text


def test_crops_and_circular_shifts_may_disagree() -> None:
    claim = judge(*study(Truth(crops_pooling=0.05, circular_pooling=-0.05)))[3]
    assert claim.verdict is Verdict.IN_PART
    assert "two crops, answers stayed more often" in claim.answers[0].text
    assert "rolling the picture, answers stayed less often" in claim.answers[0].text


def test_what_strides_do_as_well_is_not_pooling() -> None:
    truth = replace(HOLDS, field_strided=HOLDS.field_pooling)
    claim = judge(*study(truth))[2]
    assert claim.verdict is Verdict.HELD
    assert claim.beyond is not Verdict.HELD
    assert any(line.startswith("Strides alone enlarge it too") for line in claim.strength)


def test_a_rise_that_everybody_has_is_not_pooling() -> None:
    claim = judge(*study(Truth(rise=0.05)))[4]
    assert (claim.verdict, claim.beyond) == (Verdict.IN_PART, Verdict.NOT_SHOWN)


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_verdict_from_one_or_two_seeds(seeds: int) -> None:
    records = study(HOLDS, seeds=seeds)
    for claim in judge(*records)[1:]:
        assert claim.verdict is claim.beyond is Verdict.NOT_MEASURED, claim.key
        assert not any(row.found for answer in claim.answers for row in answer.rows)
    assert all(row.found is None for question in questions(*records) for row in question.rows)
    ranked = [purpose for purpose in purposes(*records) if not purpose.name.startswith("Little")]
    assert ranked and all("Not compared" in purpose.answer for purpose in ranked)


@pytest.mark.parametrize("missing", ["none", "strided"])
def test_a_missing_control_is_said(missing: str) -> None:
    found = judge(*study(HOLDS, variants=tuple(name for name in MAIN if name != missing)))
    index = {"none": 0, "strided": 1}[missing]
    for claim in found:
        if claim.key == "features" and missing == "none":
            assert claim.verdict is Verdict.IN_PART and "not compared with" in claim.answers[0].text
            continue
        assert claim.answers[index].verdict is Verdict.NOT_MEASURED, claim.key
        assert "is not in this study" in claim.answers[index].text
        assert claim.answers[1 - index].verdict is not Verdict.NOT_MEASURED


@pytest.mark.parametrize("variants", [("max2",), ("none", "strided"), ("allconv", "convpool"), ("max2", "none")])
def test_few_variants(variants: tuple[str, ...]) -> None:
    records = study(HOLDS, variants=variants)
    assert len(judge(*records)) == 5
    purposes(*records), questions(*records)


def test_partial_results() -> None:
    head, variants, runs = study(HOLDS)
    for count in range(0, len(runs), 13):
        for claim in judge(head, variants, runs[:count]):
            text = " ".join([*(answer.text for answer in claim.answers), *claim.strength, *claim.caveats])
            assert "nan" not in text.lower().split()
    assert not judge(head, [], [])[0].answers[0].rows


def test_missing_and_infinite_numbers_are_left_out() -> None:
    head, variants, runs = study(HOLDS)
    runs[0] = replace(runs[0], test_error=math.nan)
    runs = [replace(run, crops=None) if run.seed == 1 else run for run in runs]
    claim = judge(head, variants, runs)[3]
    for row in claim.answers[0].rows:
        assert row.found is not None
        assert row.found.n == (4 if "crops" in row.what else 5)


def test_nothing_is_found_in_nothing() -> None:
    """Over 120 studies without any effect, each claim's first answer shows something in 5 % of them at most (and chance)."""
    shown = dict.fromkeys(CLAIMS[1:], 0)
    for seed in range(120):
        for claim in judge(
            *study(
                replace(NOTHING, noise=0.02),
                seed,
                sizes=(250, 1000),
                variants=("max2", "avg2", "blur", "none", "strided"),
            )
        ):
            if claim.key != "compute":
                shown[claim.key] += any(row.sign for row in claim.answers[0].rows if row.found is not None)
    limit = 120 * 0.05 + 3 * math.sqrt(120 * 0.05 * 0.95)
    assert all(count <= limit for count in shown.values()), shown


# Every number again, with NumPy and SciPy and without the study's own statistics


def value(run: Run, what: str) -> float:
    """The measure that a row names."""
    shift = re.search(r"(\d+) px", what)
    if what.startswith("Gap"):
        return run.test_error - run.train_error
    if what.startswith("Test error"):
        return run.test_error
    if "crops" in what:
        return (run.crops or {})[shift[1]]  # type: ignore[index]
    if "rolled" in what:
        return (run.circular or {})[shift[1]]  # type: ignore[index]
    if what.startswith("Effective field"):
        return run.fields["stage 3"]["after" if "after" in what else "before"]
    if what.startswith("Probe at"):
        return run.probes["stage 3"]
    return float(np.polyfit(range(3), [run.probes[place] for place in synthetic.DEPTHS], 1)[0])


def other(run: Run, row: Row) -> float:
    """The second side where it is the same networks."""
    if row.sides[1] == "on the pixels":
        return run.probes["pixels"]
    if row.sides[1] == "untrained":
        return float(np.polyfit(range(3), [run.probes_untrained[place] for place in synthetic.DEPTHS], 1)[0])
    return 0.0


def sides(runs: list[Run], row: Row) -> tuple[list[float], list[float]]:
    size = re.search(r"([\d,]+) images", row.what)
    number = int(size[1].replace(",", "")) if size else 4000
    chosen = [run for run in runs if run.size == number]
    control = {"without reduction": "none", "with strides": "strided"}.get(row.sides[1])
    first, second = [], []
    for seed in range(5):
        pooled = [run for run in chosen if run.seed == seed and run.variant in POOLING]
        first.append(float(np.mean([value(run, row.what) for run in pooled])))
        if control is None:
            second.append(float(np.mean([other(run, row) for run in pooled])))
        else:
            second += [value(run, row.what) for run in chosen if run.seed == seed and run.variant == control]
    return first, second


@pytest.mark.parametrize("truth", [HOLDS, FAILS], ids=["holds", "fails"])
def test_every_number_again(truth: Truth) -> None:
    head, variants, runs = study(truth, 7)
    checked = 0
    for claim in judge(head, variants, runs)[1:]:
        for answer in claim.answers:
            rows = [row for row in answer.rows if row.found is not None]
            plain = []
            for row in rows:
                first, second = sides(runs, row)
                assert row.found is not None
                assert row.found.mean == pytest.approx(np.mean(first) - np.mean(second), abs=1e-12), row.what
                assert (row.found.first, row.found.second) == pytest.approx(
                    (np.mean(first), np.mean(second)), abs=1e-12
                )
                theirs = scipy_stats.ttest_rel(first, second).pvalue
                # Where the spread is under one step of the scale, ours counts it as one step.
                assert row.found.p >= theirs * (1 - 1e-6)
                plain.append(row.found.p)
                checked += 1
            ordered = sorted(plain)
            holm = np.minimum(1, np.maximum.accumulate([p * (len(plain) - i) for i, p in enumerate(ordered)]))
            assert sorted(row.found.adjusted for row in rows if row.found) == pytest.approx(holm)
    assert checked >= 25


def test_costs_are_the_records() -> None:
    head, variants, runs = study(HOLDS)
    costs = {variant.name: variant for variant in variants}
    claim = judge(head, variants, runs)[0]
    for row in (*claim.answers[0].rows, *claim.answers[1].rows):
        field = {
            "multiply-adds": "multiply_adds",
            "layers'": "activation_bytes",
            "training": "train_ms",
            "answering": "infer_ms",
        }[next(word for word in row.what.split() if word in ("multiply-adds", "layers'", "training", "answering"))]
        assert row.counted == (getattr(costs[row.sides[0]], field), getattr(costs[row.sides[1]], field))


def test_purposes_name_who_is_ahead() -> None:
    truth = Truth(error={name: 0.3 for name in MAIN if name != "avg2"})
    found = {purpose.name: purpose for purpose in purposes(*study(truth))}
    accuracy = found["Accuracy"]
    assert accuracy.answer == "avg2: shown to be ahead of all others compared."
    assert [place.name for place in accuracy.places if place.tied] == ["avg2"]
    assert "allconv" not in [place.name for place in accuracy.places]
    nothing = {purpose.name: purpose for purpose in purposes(*study(NOTHING))}
    assert nothing["Accuracy"].answer == "No difference shown between any of the 11 variants."


def test_questions_have_their_fair_control() -> None:
    truth = Truth(noise=0.005, error={"convpool": -0.0, "allconv": 0.2, "strided": 0.1})
    found = {question.name: question for question in questions(*study(truth))}
    fair = found["Pooling or a strided convolution?"]
    assert {row.sides for row in fair.rows} == {("max2", "strided"), ("max2", "allconv"), ("convpool", "allconv")}
    assert all(row.sign < 0 for row in fair.rows if row.what.endswith("test error"))
    assert "no difference shown" in found["Maximum or average?"].answer


def test_times_that_are_close_are_not_read() -> None:
    head, variants, runs = study(HOLDS)
    variants = [replace(variant, train_ms=100.0 if variant.name == "none" else 95.0) for variant in variants]
    claim = judge(head, variants, runs)[0]
    assert claim.verdict is Verdict.IN_PART
    assert "not faster" in claim.answers[0].text
    assert [row.sign for row in claim.answers[0].rows if row.what.endswith("training step")] == [0]
