"""``poolwise study`` from the outside: whole runs, interrupted ones, and what is said about bad input."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

for module in ("torch", "scipy", "sklearn", "jinja2", "matplotlib", "rich", "PIL.Image"):
    pytest.importorskip(module)

from poolwise.cli import main  # noqa: E402

SMALL = ("--data", "digits", "--variants", "max2,fractional", "--seeds", "2", "--sizes", "40,80", "--steps", "6")
COMMAND = (sys.executable, "-m", "poolwise", "study", *SMALL)


def short_page(header, variants, runs):
    """In place of the real page, which takes seconds to draw."""
    return f"{len(runs)} runs"


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def records(folder: Path) -> dict[tuple, dict]:
    """What must not depend on when, where and in which order: everything but times."""
    found = {}
    for record in lines(folder):
        for time_of in ("seconds", "train_ms", "infer_ms", "created", "machine"):
            record.pop(time_of, None)
        key = tuple(str(record.get(name)) for name in ("kind", "variant", "name", "seed", "size"))
        assert key not in found, "once each"
        found[key] = record
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict]:
    """A study in two processes, and what it printed."""
    pytest.importorskip("poolwise.study.page")
    folder = tmp_path_factory.mktemp("study") / "new" / "folder"
    printed: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poolwise.cli.study.print_json", printed.append)
        assert main(["study", *SMALL, "--jobs", "2", "--out", str(folder), "--json"]) == 0
    return folder, json.loads(json.dumps(printed[0]))


def test_a_whole_study(whole):
    folder, facts = whole
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "results.jsonl", "summary.png"]
    assert (folder / "summary.png").read_bytes()[1:4] == b"PNG" and len(facts["report"]["claims"]) == 5
    command = facts["header"]["machine"]["command"]
    assert set(shlex.split(command)) == {"poolwise", "study", *SMALL} and command in (folder / "index.html").read_text()
    assert len(facts["variants"]) == 2 and len(facts["runs"]) == 8 and not facts["failed"]
    assert len(lines(folder)) == 1 + 2 + 8 and lines(folder)[0]["kind"] == "header"
    order = [(run["variant"], run["size"], run["seed"]) for run in facts["runs"]]
    assert order == [(name, size, seed) for name in ("max2", "fractional") for size in (40, 80) for seed in (0, 1)]
    for run in facts["runs"]:
        assert 0 <= run["train_error"] <= 1 and 0 <= run["test_error"] <= 1 and len(run["losses"]) == 6
        main_size, first = run["size"] == 80, run["seed"] == 0
        assert (
            bool(run["crops"]) == bool(run["circular"]) == bool(run["map_change"]) == bool(run["probes"]) == main_size
        )
        assert bool(run["patches"]) == (main_size and first)
        if main_size:
            depths = {"stage 1", "stage 2", "stage 3"}
            assert set(run["fields"]) == set(run["map_change"]) == set(run["probes_untrained"]) == depths
            assert set(run["probes"]) == depths | {"pixels"} and set(run["crops"]) == set(run["circular"]) == {"1"}
            assert ("map_after" in run["fields"]["stage 1"]) == first
            assert run["fields"]["stage 3"]["after"] >= 1
    page = (folder / "index.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>") and page.rstrip().endswith("</html>")


def test_equal_seeds_pair_the_variants(whole):
    runs = {(run["variant"], run["size"], run["seed"]): run for run in whole[1]["runs"]}
    assert runs["max2", 80, 0]["probes"]["pixels"] == runs["fractional", 80, 0]["probes"]["pixels"]
    assert runs["max2", 80, 0]["losses"] != runs["max2", 80, 1]["losses"]


@pytest.mark.skipif(os.name != "posix", reason="signals to a group of processes")
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(whole, tmp_path, monkeypatch):
    folder, path = tmp_path / "out", tmp_path / "out" / "results.jsonl"
    # Where the tests themselves run in a shell's background, interrupts are ignored, and children would ignore them too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*COMMAND, "--jobs", "1", "--out", str(folder)], start_new_session=True, text=True, stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 100
        while not (path.exists() and b'"kind":"run"' in path.read_bytes()):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and to its processes
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and "--resume" in err and "Traceback" not in err and not out
    assert err.count("\n") == 1 and not (folder / "index.html").exists()
    done = len(lines(folder)) - 3
    assert 1 <= done < 8 and f"{done} of 8 runs" in err
    with path.open("ab") as file:
        file.write(b'{"kind":"run","variant":"max2","se')  # as a power cut leaves it
    monkeypatch.setattr("poolwise.study.page.render", short_page)
    assert main(["study", *SMALL, "--jobs", "2", "--out", str(folder), "--resume", "--json"]) == 0
    assert records(folder) == records(whole[0])
    assert (folder / "index.html").read_text() == "8 runs"


def test_report_only_and_a_finished_study(whole, tmp_path, capsys):
    page = (whole[0] / "index.html").read_bytes()
    before = (whole[0] / "results.jsonl").read_bytes()
    (whole[0] / "index.html").unlink()
    assert main(["study", "--report-only", "--out", str(whole[0])]) == 0
    out = capsys.readouterr().out
    assert "max" in out and "index.html" in out
    assert (whole[0] / "index.html").read_bytes() == page and (whole[0] / "results.jsonl").read_bytes() == before
    assert main(["study", "--report-only", "--out", str(tmp_path)]) == 1
    assert "no results" in capsys.readouterr().err


def test_a_run_that_fails_is_named_and_the_page_is_of_the_others(whole, tmp_path, capsys, monkeypatch):
    from poolwise.study import runner
    from poolwise.study.processes import Failed

    folder = tmp_path / "out"
    folder.mkdir()
    kept = (whole[0] / "results.jsonl").read_bytes().splitlines(keepends=True)[:-1]
    (folder / "results.jsonl").write_bytes(b"".join(kept))
    monkeypatch.setattr("poolwise.study.page.render", short_page)
    monkeypatch.setattr(
        runner, "work", lambda jobs, *others: (Failed(job, "RuntimeError: out of\nluck") for job in jobs)
    )
    assert main(["study", *SMALL, "--out", str(folder), "--resume"]) == 1
    err = capsys.readouterr().err
    assert "RuntimeError: out of; luck" in err and "without a result: 1;" in err and err.count("\n") == 2
    assert (folder / "index.html").read_text() == "7 runs"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--data", "mnist6k"], 2, "mnist6k"),
        (["--data", "folder:/nowhere/at/all"], 2, "/nowhere/at/all"),
        (["--data", "digits", "--variants", "max2,softmax"], 2, "softmax"),
        (["--data", "digits", "--variants", ","], 2, "no variant"),
        (["--data", "digits", "--sizes", "40,x"], 2, "--sizes"),
        (["--data", "digits", "--sizes", "99999"], 2, "99999"),
        (["--data", "digits", "--seeds", "0"], 2, "--seeds"),
        (["--data", "digits", "--steps", "-1"], 2, "--steps"),
        (["--data", "digits", "--jobs", "two"], 2, "--jobs"),
        (["--data", "digits", "--image-size", "30"], 2, "--image-size 28"),
        (["--resume", "--force"], 2, "--force"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, capsys, arguments, code, text):
    folder = tmp_path / "out"
    assert main(["study", "--out", str(folder), *arguments]) == code
    err = capsys.readouterr().err
    assert text in err and err.count("\n") == 1 and not folder.exists()


def test_places_that_cannot_be_written(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "inside"):
        assert main(["study", *SMALL, "--out", str(folder)]) == 1
        err = capsys.readouterr().err
        assert "cannot write" in err and err.count("\n") == 1
    assert file.read_text() == "mine"


def test_results_that_are_there_are_not_touched(tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    path.write_text('{"kind":"header","schema":0}\n')
    for more in ([], ["--resume"], ["--report-only"]):
        assert main(["study", *SMALL, "--out", str(tmp_path), *more]) == 2
        err = capsys.readouterr().err
        assert "results" in err and err.count("\n") == 1
    assert path.read_text() == '{"kind":"header","schema":0}\n'


def test_what_is_missing_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["study", *SMALL, "--out", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert "poolwise[study]" in err and err.count("\n") == 1
