"""Jobs, processes and the file of results: what happens when something goes wrong, above all."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import chores
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from poolwise import data  # noqa: E402
from poolwise.study import results as files  # noqa: E402
from poolwise.study import runner  # noqa: E402
from poolwise.study.jobs import pending  # noqa: E402
from poolwise.study.processes import Done, Failed, Tick, work  # noqa: E402
from poolwise.study.record import Depth, Run, Variant  # noqa: E402


def variant(name: str, train_ms: float) -> Variant:
    depths = (Depth("stage 1", "pool1", (16, 4, 4), 2, 4),)
    return Variant(name, name, "main", "pooling", 10, 20, 30, 40, train_ms, train_ms / 4, depths)


def run_of(name: str, seed: int, size: int) -> Run:
    return Run(name, seed, size, 0.1, 0.2, 0.3, 0.4, [1.0, 0.5], 1.5)


@pytest.fixture(scope="module")
def small() -> runner.Plan:
    return runner.plan(data.load("digits"), variants=["max2", "none"], seeds=2, sizes=(40, 80), steps=5)


def test_results_are_read_as_they_were_written(tmp_path, small):
    path = tmp_path / "results.jsonl"
    results = runner.prepare(path, small.header, resume=False, force=False)
    assert results.header == small.header and not results.runs
    written = [variant("max2", 1.0), run_of("max2", 0, 40), run_of("max2", 1, 40)]
    with files.added_to(path, results.whole) as add:
        for number, record in enumerate(written, 2):
            add(record)
            assert path.read_bytes().count(b"\n") == number, "every line is on the disk before the next"
    found = files.read(path)
    assert found.variants == written[:1] and found.runs == written[1:] and found.whole == path.stat().st_size


def test_part_of_a_line_is_cut_off(tmp_path, small):
    path = tmp_path / "results.jsonl"
    results = runner.prepare(path, small.header, resume=False, force=False)
    with files.added_to(path, results.whole) as add:
        add(run_of("max2", 0, 40))
    whole = path.read_bytes()
    with files.added_to(path) as add:
        add(run_of("max2", 1, 40))
    torn = path.read_bytes()[:-20]
    path.write_bytes(torn)
    found = runner.prepare(path, small.header, resume=True, force=False)
    assert found.runs == [run_of("max2", 0, 40)] and path.read_bytes() == torn, "looking changes nothing"
    with files.added_to(path, found.whole) as add:
        assert path.read_bytes() == whole
        add(run_of("max2", 1, 40))
    assert len(files.read(path).runs) == 2


def test_a_line_that_is_broken_in_the_middle_is_refused(tmp_path, small):
    path = tmp_path / "results.jsonl"
    runner.prepare(path, small.header, resume=False, force=False)
    header = path.read_bytes()
    for line in (b'{"kind": "run", "var\n', b"[1, 2]\n", b'{"kind": "run"}\n', b"\xff\n", header):
        path.write_bytes(header + line)
        with pytest.raises(ValueError, match="line 2"):
            files.read(path)
    for text in (b"", b"\n", b"PNG", header[:-1]):
        path.write_bytes(text)
        with pytest.raises(ValueError, match="not a file of results"):
            files.read(path)


def test_another_version_is_refused_by_its_number(tmp_path, small):
    path = tmp_path / "results.jsonl"
    runner.prepare(path, small.header, resume=False, force=False)
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "schema": 999, "unheard": 1}) + "\n")
    with pytest.raises(ValueError, match="schema 999"):
        runner.prepare(path, small.header, resume=True, force=False)
    assert runner.prepare(path, small.header, resume=False, force=True).header == small.header


def test_other_settings_and_other_data_are_refused_and_named(tmp_path, small):
    path = tmp_path / "results.jsonl"
    runner.prepare(path, small.header, resume=False, force=False)
    before = path.read_bytes()
    other = dataclasses.replace(small.header, settings=dataclasses.replace(small.header.settings, steps=6))
    with pytest.raises(ValueError, match=r"settings\.steps is 5 there, 6 here"):
        runner.prepare(path, other, resume=True, force=False)
    other = dataclasses.replace(small.header, data=dataclasses.replace(small.header.data, sha256="0" * 64))
    with pytest.raises(ValueError, match=r"data\.sha256"):
        runner.prepare(path, other, resume=True, force=False)
    with pytest.raises(ValueError, match="--resume"):
        runner.prepare(path, small.header, resume=False, force=False)
    moved = dataclasses.replace(small.header, data=dataclasses.replace(small.header.data, source="elsewhere"))
    runner.prepare(path, moved, resume=True, force=False)
    assert path.read_bytes() == before


def test_one_study_at_a_time(tmp_path, small):
    pytest.importorskip("fcntl")
    path = tmp_path / "results.jsonl"
    runner.prepare(path, small.header, resume=False, force=False)
    with (
        files.added_to(path),
        pytest.raises(ValueError, match="another study is at work"),
        files.added_to(path),
    ):
        pass
    with files.added_to(path), pytest.raises(ValueError, match="another study is at work"):
        runner.prepare(path, small.header, resume=False, force=True)


def test_the_longest_jobs_come_first_and_what_is_done_does_not_come_back(small):
    settings = small.header.settings
    kinds = [variant("max2", 1.0), variant("none", 10.0)]
    jobs = pending(settings, kinds, [run_of("none", 1, 80)])
    assert len(jobs) == 7 and len({(job.variant, job.seed, job.size) for job in jobs}) == 7
    assert [job.cost for job in jobs] == sorted((job.cost for job in jobs), reverse=True)
    assert (jobs[0].variant, jobs[0].seed, jobs[0].size) == ("none", 0, 80)
    assert {(job.variant, job.seed, job.size) for job in jobs}.isdisjoint({("none", 1, 80)})


def test_sizes_are_nested_and_balanced():
    images = data.load("digits")
    found = [runner.plan(images, variants=["max2"], sizes=(n,)).material for n in (50, 100)]
    assert np.array_equal(found[0].train_images, found[1].train_images[:50])
    assert np.bincount(found[1].train_labels).tolist() == [10] * 10
    assert np.ptp(np.bincount(found[0].test_labels)) <= 2
    tests = {image.tobytes() for image in found[1].test_images}
    assert not any(image.tobytes() in tests for image in found[1].train_images)


def test_defaults_follow_the_data():
    images = data.load("digits")
    settings = runner.plan(images, variants=["max2"]).header.settings
    assert settings.sizes == (250, 1000, len(images.train_labels)) and settings.shifts == (1,)
    assert len(settings.seeds) == 5 and settings.test_images == len(images.test_labels)
    assert runner.plan(images, variants=["max2"], quick=True).header.settings.steps < settings.steps


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"variants": ["max7"]}, "max7"),
        ({"variants": []}, "no variant"),
        ({"sizes": (5,)}, "from 10"),
        ({"sizes": (100, 99999)}, "99999"),
    ],
)
def test_plans_that_cannot_be(options, text):
    with pytest.raises(ValueError, match=text):
        runner.plan(data.load("digits"), **{"variants": ["max2"], **options})


def collect(jobs, function, shared=None, processes=2):
    events = list(work(jobs, function, shared, processes))
    done = {event.job: event.value for event in events if isinstance(event, Done)}
    return done, [event for event in events if isinstance(event, Failed)], [e for e in events if isinstance(e, Tick)]


def test_processes_do_every_job_once():
    done, failed, ticks = collect(range(5), chores.square, 100)
    assert done == {n: n * n + 100 for n in range(5)} and not failed and sum(tick.amount for tick in ticks) == 2.5
    assert collect([], chores.square) == ({}, [], [])


def test_an_exception_is_reported_with_its_job_and_the_rest_goes_on():
    done, failed, _ = collect(range(4), chores.odd_ones_fail, processes=1)
    assert set(done) == {0, 2} and len(set(done.values())) == 1 and os.getpid() not in done.values()
    assert [(failure.job, failure.why.split(".")[0]) for failure in failed] == [
        (1, "ValueError: 1 is odd"),
        (3, "ValueError: 3 is odd"),
    ]
    assert "odd_ones_fail" in failed[0].details


def test_a_process_that_dies_takes_its_job_along_and_nothing_else():
    done, failed, _ = collect([3, 4, 5], chores.three_dies, processes=1)
    assert set(done) == {4, 5} and [failure.job for failure in failed] == [3]
    assert "SIGKILL" in failed[0].why


def test_processes_end_with_who_asked_for_them():
    events = work([1], chores.sleeps, None, 1)
    pid = int(next(events).amount)
    os.kill(pid, 0)
    started = time.monotonic()
    events.close()
    assert time.monotonic() - started < 20
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_failures_are_not_repeated_for_ever(tmp_path, small, monkeypatch):
    path = tmp_path / "results.jsonl"
    results = runner.prepare(path, small.header, resume=False, force=False)
    asked = []

    def all_fail(jobs, function, shared, processes):
        for job in jobs:
            asked.append(job)
            yield Failed(job, "no memory")

    monkeypatch.setattr(runner, "work", all_fail)
    outcome = runner.run(path, results, small.material, 1)
    assert len(outcome.failed) == len(asked) == runner.GIVE_UP and outcome.left == 8 and not outcome.interrupted


def test_an_interrupt_just_after_a_line_was_written(tmp_path, small, monkeypatch):
    path = tmp_path / "results.jsonl"
    results = runner.prepare(path, small.header, resume=False, force=False)

    def interrupted(known, material, add, progress):
        add(variant("max2", 1.0))
        add(run_of("max2", 0, 40))
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_describe", interrupted)
    outcome = runner.run(path, results, small.material, 1, None)
    assert outcome.interrupted and outcome.results.runs == [run_of("max2", 0, 40)] and outcome.left == 7
