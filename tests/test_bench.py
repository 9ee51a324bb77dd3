"""The benchmark: what it covers, that it cannot be deceived, and what it writes. Nothing here asserts a time."""

from __future__ import annotations

import argparse
import json
import math
import time
from xml.etree import ElementTree

import numpy as np
import pytest

import poolwise as pw
from poolwise import reference
from poolwise.bench import cli, memory, oracle
from poolwise.bench.case import Case
from poolwise.bench.inputs import Inputs
from poolwise.bench.machine import start_peers
from poolwise.bench.peers import PEERS
from poolwise.bench.peers.base import Task, Unable
from poolwise.bench.peers.ours import call
from poolwise.bench.registry import REGISTRY, select, sliding
from poolwise.bench.runner import Bench, run_cell
from poolwise.bench.session import run_cells, write_json
from poolwise.bench.targets import TARGETS, words_of
from poolwise.bench.text import cell_line, summary_lines
from poolwise.bench.timing import Plan, interleave

CASE = sliding("max", "2/2", (2, 3, 9, 8))


class Fake:
    """A peer that hands out an answer made beforehand, as it is told."""

    package = "fake"

    def __init__(self, name: str, *, wrong: bool = False, slow: float = 0.0, reason: str = "") -> None:
        self.name, self.wrong, self.slow, self.reason = name, wrong, slow, reason

    def start(self, threads: int) -> str:
        if self.reason == "missing":
            raise ImportError(f"No module named {self.name!r}")
        return "1.0"

    def prepare(self, case: Case, inputs: Inputs) -> list[Task]:
        if self.reason:
            raise Unable(self.reason)
        y = call(case)(inputs.x()).copy()
        if self.wrong:
            y[-1, -1, -1, -1] += 1

        def run() -> np.ndarray:
            if self.slow:
                time.sleep(self.slow)
            return y

        return [Task("made beforehand", run, lambda y: (y,))]


@pytest.fixture
def bench():
    made = []

    def make(*peers: Fake) -> Bench:
        made.append(Bench(peers, 1, via="numpy", plan=Plan(0.01, 1, 2), measure_memory=False))
        return made[-1]

    yield make
    for each in made:
        each.close()
    pw.set_num_threads(None)


@pytest.fixture
def torch_threads():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_registry_is_well_formed():
    names = [case.name for case in REGISTRY]
    assert len(names) == len(set(names))
    assert 120 <= len(names) <= 220
    for case in REGISTRY:
        assert all(many > 0 for many in case.outputs)
        assert case.traffic >= case.bytes_in
        assert words_of({**case.as_dict(), "ratios": {}}) == case.words


@pytest.mark.parametrize(
    "words",
    [
        *("max", "min", "avg", "sum", "lp", "median", "blur"),
        *("forward", "indices", "backward", "both"),
        *("float32", "float64", "float16", "bfloat16", "uint8", "int8", "int32"),
        *("channels-first", "channels-last", "1d", "2d", "3d", "small", "medium", "large"),
        *("2/2", "3/2,p1", "3/1,p1", "5/1", "13/1", "31/1", "101/1", "dilated", "ceil", "adaptive", "global"),
        *("max,indices,channels-last", "avg,backward", "max,both", "median,3/1", "median,31/1", "headline", "quick"),
    ],
)
def test_registry_covers_the_grid(words):
    assert select("default", words)


def test_registry_covers_the_shapes():
    shapes = {case.shape for case in select("default")}
    assert {(1, 16, 8, 8), (1, 64, 56, 56), (1, 1, 8192, 8192)} <= shapes
    assert {7, 13, 113, 127} <= {shape[-1] for shape in shapes}
    assert any(case.bytes_in > 100_000_000 for case in select("default"))
    assert any(
        n % m for case in REGISTRY if case.kind == "adaptive" for n, m in zip(case.spatial, case.window, strict=True)
    )
    assert not any(
        n % m for case in select("full", "adaptive,7") for n, m in zip(case.spatial, case.window, strict=True)
    )


def test_every_target_has_cells():
    for target in TARGETS:
        assert select("default", target.only), target.name


def test_a_filter_that_leaves_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"expected .*--list"):
        select("default", "max,median")


@pytest.mark.parametrize(
    ("op", "windows", "mode", "dtype"),
    [
        ("max", "3/2 p1", "forward", "float32"),
        ("min", "2/2 ceil", "forward", "int8"),
        ("max", "3/1 p1 d2", "indices", "uint8"),
        ("max", "adaptive 4", "indices", "float32"),
        ("min", "3/2 p1", "backward", "float64"),
        ("avg", "3/2 p1 ceil", "forward", "float64"),
        ("avg", "adaptive 5", "backward", "float32"),
        ("avg", "3/2 p1", "both", "float64"),
        ("sum", "3/1 p1", "backward", "float64"),
        ("lp", "3/2 p1", "forward", "float64"),
        ("lp", "2/2", "backward", "float64"),
        ("avg", "global", "forward", "float64"),
        ("median", "3/2", "forward", "float32"),
        ("blur", "3/2 p1", "forward", "float64"),
        ("blur", "5/2 p2", "forward", "float64"),
    ],
)
def test_oracle_agrees_with_the_reference(op, windows, mode, dtype):
    case = sliding(op, windows, (1, 2, 7, 8), mode=mode, dtype=dtype)
    inputs = Inputs(case)
    x = inputs.x()
    planes = x[0].astype(oracle.wide_dtype(case))
    problem = pw.explain(call(case), x).steps[0].problem
    if mode in ("backward", "both"):
        got, right = oracle.gradient(case, planes, inputs.gy()[0]), reference.vjp(problem, x, inputs.gy())[0]
    else:
        got, right = oracle.forward(case, planes), reference.forward(problem, x)[0]
    np.testing.assert_allclose(got.astype(np.float64), right.astype(np.float64), rtol=1e-6, atol=1e-6)
    if mode == "indices":
        np.testing.assert_array_equal(oracle.indices(case, planes), reference.select(problem, x)[0])


def test_a_wrong_answer_gets_no_number(bench):
    cell = run_cell(CASE, bench(Fake("liar", wrong=True), Fake("sleeper", slow=0.002)))
    assert cell["status"] == "ok"
    liar = cell["peers"]["liar"]
    assert liar["status"] == "mismatch"
    assert "is right" in liar["reason"]
    assert "median_ms" not in liar
    assert cell["ratios"]["best_peer"] == "sleeper"
    assert "wrong: liar" in cell_line(cell)


def test_our_own_wrong_answer_leaves_no_number_at_all(bench):
    with_fault = bench(Fake("honest"))
    with_fault.ours = Fake("poolwise", wrong=True)
    cell = run_cell(CASE, with_fault)
    assert cell["status"] == "mismatch"
    assert "ratios" not in cell
    assert "no number" in cell_line(cell)


def test_our_own_error_is_a_failure(bench):
    with_fault = bench()
    with_fault.ours = Fake("poolwise", reason="broken")
    assert run_cell(CASE, with_fault)["status"] == "failed"


def test_a_wrong_plane_outside_the_sample_is_found(bench):
    case = sliding("max", "2/2", (1, 40, 256, 256))

    class Sly(Fake):
        def prepare(self, case, inputs):
            (task,) = super().prepare(case, inputs)
            from poolwise.bench.verify import Oracle

            outside = min(set(range(40)) - set(Oracle(case, inputs).planes))
            task.run()[0, outside, 3, 3] += 1
            return [task]

    cell = run_cell(case, bench(Sly("sly")))
    assert cell["ours"]["status"] == "ok"
    assert cell["peers"]["sly"]["status"] == "mismatch"


def test_lost_cells_missing_and_unable_peers_are_named(bench, tmp_path):
    fakes = [Fake("instant"), Fake("absent", reason="missing"), Fake("narrow", reason="no such layout")]
    here, versions, missing = start_peers(fakes, 1)
    assert list(versions) == ["instant", "narrow"]
    report = run_cells([CASE], bench(*here), versions=versions, missing=missing, calls=False)
    assert [lost["peer"] for lost in report["summary"]["lost"]] == ["instant"]
    assert report["cells"][0]["peers"]["narrow"] == {"status": "unable", "reason": "no such layout"}
    text = "\n".join(summary_lines(report))
    assert "cells lost: 1 of 1" in text
    assert "missing: absent: not installed: pip install fake" in text

    write_json(report, tmp_path / "run.json")
    kept = json.loads((tmp_path / "run.json").read_text())
    assert kept["missing"].keys() == {"absent"}
    assert {"date", "cpu", "threads", "git", "python", "poolwise"} <= kept["machine"].keys()
    limits = kept["cells"][0]["limits"]
    assert limits.keys() == {"copy", "fresh copy"}


def test_picture_is_svg_and_names_everybody(bench, tmp_path):
    pytest.importorskip("matplotlib")
    from poolwise.bench.picture import draw

    report = run_cells([CASE], bench(Fake("instant")), versions={}, missing={}, calls=False)
    draw(report, tmp_path / "run.svg")
    text = "".join(ElementTree.parse(tmp_path / "run.svg").getroot().itertext())
    for word in ("poolwise", "instant", "max 2/2", "copy"):
        assert word in text


@pytest.mark.parametrize("mode", ["forward", "indices", "backward", "both"])
def test_real_peers_end_to_end(mode, torch_threads):
    case = sliding("max", "3/2 p1", (1, 2, 9, 9), mode=mode)
    here, _, _ = start_peers([peer for peer in PEERS if peer.name in ("torch", "torch channels_last", "scipy")], 1)
    with_peers = Bench(here, 1, via="numpy", plan=Plan(0.01, 1, 1))
    try:
        cell = run_cell(case, with_peers)
    finally:
        with_peers.close()
        pw.set_num_threads(None)
    assert cell["status"] == "ok"
    assert {entry["status"] for entry in cell["peers"].values()} <= {"ok", "unable"}
    assert math.isfinite(cell["ratios"]["copy"])


def test_timing_is_interleaved():
    order = []
    tasks = {name: Task(name, lambda name=name: order.append(name), lambda y: ()) for name in "abc"}
    interleave(tasks, dict.fromkeys(tasks, 1.0), Plan(10.0, 3, 3))
    assert order == list("abcbcacab")


def test_memory_sees_a_hidden_copy():
    if memory.available() is not None:
        pytest.skip(memory.available())
    held = np.ones(1 << 24, np.uint8)
    assert memory.peak(Task("", lambda: (held + 1, held + 2), lambda y: ())) > 30 << 20


def test_command_line(capsys, tmp_path):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    assert cli.run(parser.parse_args(["--list", "--quick"])) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(select("quick"))
    with pytest.raises(ValueError, match="no peer has this name"):
        cli.run(parser.parse_args(["--peers", "nobody"]))
