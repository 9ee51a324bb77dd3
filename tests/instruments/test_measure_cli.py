"""``poolwise measure``: what it writes, and one line for everything that does not fit."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise import data  # noqa: E402
from poolwise.cli import main  # noqa: E402

nn = torch.nn


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), pt.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
        pt.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


class Branches(nn.Module):
    """No chain: where its units look need not be known."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 2)

    def forward(self, x):
        return self.head((x + self.conv(x)).mean((2, 3)))


ONE = small()
MODELS = {
    "net:small": small,
    "net:one": lambda: ONE,
    "net:branches": Branches,
    "net:map": lambda: nn.Conv2d(1, 2, 3),
    "net:colour": lambda: nn.Sequential(nn.Conv2d(3, 2, 3), pt.AdaptiveAvgPool2d(1), nn.Flatten()),
}


@pytest.fixture(autouse=True)
def named(monkeypatch):
    """Models and images of these tests, by the names that the command is given."""
    models = types.ModuleType("poolwise.cli.models")
    models.load = lambda text: MODELS[text]()
    monkeypatch.setitem(sys.modules, "poolwise.cli.models", models)
    monkeypatch.setattr(sys.modules["poolwise.cli"], "models", models, raising=False)
    random = np.random.default_rng(0)
    labels = np.arange(120) % 2
    images = random.integers(0, 120, (120, 1, 12, 12), dtype=np.uint8)
    images[labels == 1, :, 3:9, 3:9] += 120

    def load(text, **options):
        if text != "squares":
            raise data.MissingDataError(f"{text} is not here")
        return data.ImageSet(
            "squares", images[:80], labels[:80], images[80:], labels[80:], classes=("no", "yes"), source="drawn here",
            licence="none", split="80 and 40", sha256="0",
        )  # fmt: skip

    monkeypatch.setattr(data, "load", load, raising=False)


def measure(*args: object, model: str = "net:small", out: Path | str = "out") -> int:
    return main(["measure", model, "--data", "squares", "--out", str(out), *map(str, args)])


def fails(capsys, *args: object, **options) -> tuple[int, str]:
    """Exit code and the one line on standard error."""
    code = measure(*args, **options)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("poolwise: ") and err.count("\n") == 1 and "Traceback" not in err, err
    return code, err


def test_everything_at_once(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    what = "field,shifts,consistency,overfitting,features"
    assert (
        measure(
            "--what",
            what,
            "--train",
            40,
            "--images",
            20,
            "--shifts",
            "1,2",
            "--sizes",
            "8,80",
            "--seeds",
            2,
            "--rate",
            0.01,
            out=out,
        )
        == 0
    )
    text = capsys.readouterr().out
    found = json.loads((out / "measure.json").read_text())
    assert found["layers"] == ["1", "2", "4"] and found["steps"] == 40 and found["test_error"] < 0.2
    assert found["field"]["before"]["4"]["theoretical"] == [8, 8]
    assert 0 < found["field"]["after"]["4"]["side"] <= 8
    assert set(found["shifts"]["layers"]) == {"1", "2", "4"} and found["shifts"]["layers"]["1"]["1"] > 0
    assert found["consistency"]["crops"]["2"]["images"] == 20 and found["consistency"]["circular"]["1"]["pairs"] == 8
    assert [point["size"] for point in found["overfitting"]] == [8, 80]
    assert len(found["overfitting"][0]["gap"]["values"]) == 2
    assert set(found["features"]["after"]) == {"pixels", "1", "2", "4"}
    patch = found["features"]["patches"]["2"][0]["patches"][0]
    assert all(0 <= first < end <= 12 for first, end in patch["box"]) and 0 <= patch["image"] < 20
    pictures = {path.name for path in out.iterdir()} - {"measure.json"}
    assert pictures == set(found["files"]) and "field-4-before.png" in pictures and "patches-4.png" in pictures
    assert all((out / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)
    for word in ("receptive field", "same answer", "linear probe", "training images", "change of maps"):
        assert word in text
    assert text.splitlines()[0].startswith("net:small, trained for 40 steps")


def test_json_is_the_file_and_nothing_else(tmp_path, capsys):
    assert measure("--what", "consistency", "--shifts", 1, "--json", "--images", 10, out=tmp_path) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "measure.json").read_text())
    assert printed["files"] == [] and printed["data"]["test"] == 10 and printed["steps"] == 0


def test_the_seed_decides_everything(tmp_path, capsys):
    runs = []
    for seed in (0, 0, 1):
        assert measure("--what", "shifts", "--train", 5, "--seed", seed, "--json", out=tmp_path) == 0
        runs.append(json.loads(capsys.readouterr().out)["shifts"])
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights(tmp_path, capsys, suffix):
    torch.manual_seed(5)
    weights, path = small().state_dict(), tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(weights, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(weights, path)
    assert measure("--what", "field", "--weights", path, "--layers", "2", "--json", out=tmp_path / "out") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["field"]["before"]) == list(found["field"]["after"]) == ["2"] and found["weights"] == str(path)
    path.write_bytes(path.read_bytes()[:-30])
    code, text = fails(capsys, "--weights", path, out=tmp_path / "none")
    assert code == 1 and "cannot read" in text and not (tmp_path / "none").exists()


def test_weights_that_do_not_fit(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    torch.save({"0.weight": torch.zeros(1), "other": torch.zeros(1)}, path)
    code, text = fails(capsys, "--weights", path, out=tmp_path / "none")
    assert (
        code == 2 and "lacks 0.bias" in text and "no place for other" in text and "another shape for 0.weight" in text
    )
    torch.save([1, 2], path)
    assert fails(capsys, "--weights", path)[0] == 1
    torch.save(small(), path)  # a pickled object, which is not run
    assert fails(capsys, "--weights", path)[0] == 1
    assert fails(capsys, "--weights", tmp_path / "nowhere.pt") == (
        1,
        f"poolwise: there is no file {tmp_path}/nowhere.pt\n",
    )


def test_a_model_that_is_no_factory_starts_afresh_each_time(tmp_path, capsys):
    before = {name: value.clone() for name, value in ONE.state_dict().items()}
    assert measure("--what", "overfitting", "--sizes", "8", "--seeds", 2, "--json", model="net:one", out=tmp_path) == 0
    assert json.loads(capsys.readouterr().out)["overfitting"][0]["train"]["mean"] <= 0.5
    assert all(torch.equal(value, before[name]) for name, value in ONE.state_dict().items())


def test_networks_with_branches(tmp_path, capsys):
    assert measure("--what", "field,features", "--images", 20, model="net:branches", out=tmp_path) == 0
    assert "conv" in capsys.readouterr().out
    assert json.loads((tmp_path / "measure.json").read_text())["field"]["after"]["conv"]["side"] > 0


@pytest.mark.parametrize(
    ("args", "model", "code", "text"),
    [
        (("--what", "feild"), "net:small", 2, "did you mean field?"),
        (("--what", ","), "net:small", 2, "no name"),
        (("--layers", "linaer"), "net:small", 2, "no such layer"),
        (("--shifts", "-1"), "net:small", 2, "not a whole number from 1"),
        (("--shifts", "12"), "net:small", 2, "a shift does not fit"),
        (("--seed", "-1"), "net:small", 2, "not a whole number from 0"),
        (("--rate", "fast"), "net:small", 2, "not a number above 0"),
        (("--images", "0"), "net:small", 2, "not a whole number from 1"),
        (("--sizes", "81", "--what", "overfitting"), "net:small", 2, "more than the 80 training images"),
        (("--train", "5", "--rate", "-1"), "net:small", 2, "not a number above 0"),
        ((), "net:map", 2, "does not classify"),
        ((), "net:colour", 2, "does not take these images"),
        (("--data", "cubes"), "net:small", 1, "cubes is not here"),
    ],
)
def test_one_line_for_what_does_not_fit(tmp_path, capsys, args, model, code, text):
    found, said = fails(capsys, *args, model=model, out=tmp_path / "none")
    assert found == code and text in said
    assert not (tmp_path / "none").exists()


def test_folders_that_cannot_be_written(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    assert fails(capsys, out=file)[0] == 1
    assert fails(capsys, out=file / "below")[0] == 1
    assert fails(capsys, out="/proc/nothing")[0] == 1
    assert file.read_text() == "mine"
