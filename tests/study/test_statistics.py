"""Intervals and corrections against SciPy and worked examples, and how often nothing is called something."""

from __future__ import annotations

import math

import numpy as np
import pytest

scipy_stats = pytest.importorskip("scipy.stats")

from poolwise.study.statistics import compare, complete, correct, estimate, rank  # noqa: E402

TINY = 1e-12


def pairs(rng: np.random.Generator, n: int, shift: float = 0.0) -> tuple[dict[int, float], dict[int, float]]:
    return dict(enumerate(rng.normal(shift, 1, n))), dict(enumerate(rng.normal(0, 1, n)))


@pytest.mark.parametrize("n", [3, 5, 20])
def test_differences_are_the_paired_t_test(n: int) -> None:
    one, two = pairs(np.random.default_rng(n), n, 0.5)
    found = compare(one, two, TINY)
    theirs = scipy_stats.ttest_rel([*one.values()], [*two.values()])
    ends = theirs.confidence_interval(0.95)
    assert found is not None
    np.testing.assert_allclose((found.p, found.low, found.high), (theirs.pvalue, ends.low, ends.high), rtol=1e-9)
    assert found.mean == pytest.approx(np.mean(list(one.values())) - np.mean(list(two.values())))


def test_the_sign_is_first_minus_second() -> None:
    small, large = {0: 1.0, 1: 1.1, 2: 0.9, 3: 1.0}, {0: 2.0, 1: 2.2, 2: 1.8, 3: 2.1}
    less, more = compare(small, large, TINY), compare(large, small, TINY)
    assert less is not None and more is not None
    assert (less.sign, more.sign) == (-1, 1)
    assert (less.low, less.high) == (-more.high, -more.low)


def test_estimates_are_t_intervals() -> None:
    values = [0.1, 0.13, 0.08, 0.12, 0.11]
    found = estimate(values, TINY)
    ends = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    np.testing.assert_allclose((found.low, found.high), ends)


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_seeds_compare_nothing(n: int) -> None:
    one, two = pairs(np.random.default_rng(0), n, 100.0)
    assert compare(one, two, TINY) is None
    assert estimate(list(one.values()), TINY).low is None


def test_only_common_seeds_are_compared() -> None:
    found = compare({0: 1.0, 1: 2.0, 2: 3.0, 9: 1e6}, {0: 0.0, 1: 1.0, 2: 2.1, 7: -1e6}, TINY)
    assert found is not None and found.n == 3
    assert found.mean == pytest.approx((1 + 1 + 0.9) / 3)
    assert found.first == pytest.approx(2.0)


def test_equal_seeds_are_not_certainty() -> None:
    """A difference of half a step of the scale, in every seed, shows nothing; and no number is infinite."""
    same = compare(dict.fromkeys(range(5), 0.1), dict.fromkeys(range(5), 0.1), 0.01)
    step = compare(dict.fromkeys(range(5), 0.105), dict.fromkeys(range(5), 0.1), 0.01)
    large = compare(dict.fromkeys(range(5), 0.3), dict.fromkeys(range(5), 0.1), 0.01)
    assert same is not None and step is not None and large is not None
    assert same.p == 1 and same.sign == 0 and same.low < 0 < same.high
    assert step.sign == 0 and step.low < 0 < step.high
    assert large.sign == 1
    assert all(math.isfinite(v) for one in (same, step, large) for v in (one.p, one.low, one.high, one.effect))


def test_holm_against_a_worked_example() -> None:
    """p = 0.01, 0.04, 0.03, 0.005: Holm gives 0.03, 0.06, 0.06, 0.02."""
    import dataclasses

    base = compare({0: 1.0, 1: 1.2, 2: 0.7}, {0: 0.0, 1: 0.0, 2: 0.0}, TINY)
    assert base is not None
    found = correct([dataclasses.replace(base, p=p) if p else None for p in (0.01, 0.04, None, 0.03, 0.005)])
    assert [one and pytest.approx(one.adjusted) for one in found] == [0.03, 0.06, None, 0.06, 0.02]


@pytest.mark.parametrize("seed", range(20))
def test_intervals_leave_out_zero_exactly_where_a_difference_is_shown(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = correct([compare(*pairs(rng, 5, shift), TINY) for shift in (0, 1, 2, 3, 5)])
    for one in found:
        assert one is not None
        assert (one.sign != 0) == (one.low > 0 or one.high < 0)
        assert one.adjusted >= one.p


def test_complete_drops_who_has_too_few() -> None:
    five = dict.fromkeys(range(5), 0.0)
    assert complete({"a": five, "b": {0: 0.0, 1: 0.0}, "c": {1: 0.0, 2: 0.0, 3: 0.0}}) == (["a", "c"], [1, 2, 3])
    assert complete({"a": five, "b": {5: 0.0, 6: 0.0, 7: 0.0}}) == (["a"], [0, 1, 2, 3, 4])
    assert complete({}) == ([], [])


def test_ranking_against_tukey() -> None:
    rng = np.random.default_rng(3)
    means = {"good": 0.0, "alike": 0.2, "bad": 6.0}
    values = {name: dict(enumerate(rng.normal(mean, 0.5, 5))) for name, mean in means.items()}
    found = rank(values, TINY, -1)
    assert found.tied == ("good", "alike") or found.tied == ("alike", "good")
    assert found.order[-1] == "bad"
    assert rank(values, TINY, 1).order[0] == "bad" and rank(values, TINY, 1).tied == ("bad",)


def test_ranking_of_too_few_seeds_says_nothing() -> None:
    found = rank({"a": {0: 0.0, 1: 0.0}, "b": {0: 9.0, 1: 9.0}}, TINY, -1)
    assert found.tied == () and set(found.left_out) == {"a", "b"}


@pytest.mark.parametrize("spreads", [(1.0,) * 8, (1.0,) * 7 + (6.0,)], ids=["equal", "unequal"])
def test_nobody_is_told_apart_where_nothing_differs(spreads: tuple[float, ...]) -> None:
    """Over 240 studies of eight variants without any difference, at most 5 % (and chance) set one apart from the first."""
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(240):
        common = rng.normal(0, 2, 5)
        values = {str(i): dict(enumerate(common + rng.normal(0, spread, 5))) for i, spread in enumerate(spreads)}
        found = rank(values, TINY, -1)
        wrong += len(found.tied) < len(found.order)
    assert wrong <= 240 * 0.05 + 3 * math.sqrt(240 * 0.05 * 0.95), wrong
