"""``poolwise inspect``: models by name and by file, and one line for everything that is wrong with them."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from poolwise.cli import main  # noqa: E402

MODELS = """
import torch
from torch import nn
print("a model that talks")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(36, 2)
    def forward(self, x):
        return self.fc(nn.functional.max_pool2d(self.conv(x), 2).view(-1, 36))

def long():
    inner = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))
    for _ in range(6):
        inner = nn.ModuleDict({"a_rather_long_name": inner})
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner
        def forward(self, x):
            for name, module in self.inner.named_modules():
                if isinstance(module, nn.Conv2d):
                    x = module(x)
            return x
    return Outer()

def broken():
    raise RuntimeError("no luck\\non two lines")

def leaves():
    raise SystemExit(3)

def dictionary():
    return {}

def tokens():
    return nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))

made = Net()
number = 7
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "shop.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys, *args):
    code = main(["inspect", *map(str, args)])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line != "a model that talks"]
    assert out == "" and len(lines) == 1 and lines[0].startswith("poolwise: ") and "Traceback" not in err, err
    return code, lines[0]


@pytest.mark.parametrize("model", ["shop.py:Net", "shop:Net", "shop.py:made"])
def test_table(here, capsys, model):
    assert main(["inspect", model, "--input", "1,1,8,8"]) == 0
    out = capsys.readouterr().out
    assert "talks" not in out and max(map(len, out.splitlines())) <= 80
    lines = out.splitlines()
    assert lines[1].split() == [
        "conv",
        "4x6x6",
        "1",
        "3",
        "0",
        "1.30k",
        "-",
        "992",
        "576",
    ]  # bytes: 4 of each, 64 in, 36 + 4 weights, 144 out
    assert lines[2].split()[:4] == ["max_pool2d", "4x3x3", "2", "4"]
    assert "In all 1,368 multiply-adds and 144 pooling operations" in " ".join(lines)
    assert "1,496 multiply-adds instead of 1,368, 1.1 times as many" in " ".join(lines)


def test_plain_text_without_rich(here, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("poolwise.cli.models._module", lambda place: __import__("shop"))
    assert main(["inspect", "shop:long", "--input", "1,1,8,8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "output", "step", "sees", "from", "MACs", "pools", "moves", "memory"]
    assert ".." in lines[2] and max(map(len, lines)) <= 110


def test_json(here, capsys):
    assert main(["inspect", "shop.py:Net", "--input", "2x1x8x8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "shop.py:Net" and found["input"] == [2, 1, 8, 8]
    pool = next(layer for layer in found["layers"] if layer["kind"] == "max_pool2d")
    assert pool["receptive_field"] == [4, 4] and pool["reduction"] == [2, 2] and pool["pool_operations"] == 288
    assert found["multiply_adds"] == sum(layer["multiply_adds"] for layer in found["layers"])
    assert found["at_pooling_stride_1"]["enlarged"] == ["fc"] and found["at_pooling_stride_1"]["stopped"] is None


def test_tokens(here, capsys):
    assert main(["inspect", "shop.py:tokens", "--input", "1,5:int64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][1]["receptive_field"] == [1]


@pytest.mark.filterwarnings("ignore")
def test_files(here, capsys):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2)).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 1, 8, 8),)), here / "net.pt2")
    torch.jit.trace(model, torch.zeros(1, 1, 8, 8)).save(here / "net.pt")
    for name in ("net.pt2", "net.pt"):
        assert main(["inspect", name, "--input", "1,1,8,8", "--json"]) == 0
        layers = json.loads(capsys.readouterr().out)["layers"]
        assert [layer["output"] for layer in layers] == [[1, 2, 6, 6], [1, 2, 6, 6], [1, 2, 3, 3]]
        assert layers[-1]["receptive_field"] == [4, 4] and layers[0]["multiply_adds"] == 36 * 2 * 9
    torch.save(model, here / "whole.pt")
    assert "pickle" in fails(capsys, "whole.pt", "--input", "1,1,8,8")[1]
    (here / "short.pt2").write_bytes((here / "net.pt2").read_bytes()[:2000])
    assert fails(capsys, "short.pt2", "--input", "1,1,8,8")[0] == 1


class Trap:
    """Unpickling this is what must not happen."""

    def __reduce__(self):
        return (open, ("sprung", "w"))


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_is_not_unpickled(here, capsys):
    import io
    import zipfile

    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1, 1, 4, 4),)), here / "plain.pt2")
    trap = io.BytesIO()
    torch.save((Trap(),), trap)
    with zipfile.ZipFile(here / "plain.pt2") as plain, zipfile.ZipFile(here / "trap.pt2", "w") as trapped:
        for name in plain.namelist():
            trapped.writestr(name, trap.getvalue() if "sample_inputs" in name else plain.read(name))
    assert fails(capsys, "trap.pt2", "--input", "1,1,4,4")[0] in (1, 2)
    assert not (here / "sprung").exists()


@pytest.mark.parametrize(
    ("model", "shape", "code", "text"),
    [
        ("nowhere.at.all:Net", "1,1,8,8", 2, "cannot import nowhere.at.all"),
        ("shop.py:missing", "1,1,8,8", 2, "has no 'missing'; it has"),
        ("shop.py:number", "1,1,8,8", 2, "cannot be called"),
        ("shop.py:broken", "1,1,8,8", 2, "RuntimeError: no luck; on two lines"),
        ("shop.py:leaves", "1,1,8,8", 2, "SystemExit: 3"),
        ("shop.py:dictionary", "1,1,8,8", 2, "gave a dict"),
        ("shop.py", "1,1,8,8", 2, "which"),
        ("absent.py:Net", "1,1,8,8", 1, "no file"),
        ("absent.pt2", "1,1,8,8", 1, "neither a file nor a name"),
        ("not a module:Net", "1,1,8,8", 2, "is no module"),
        ("shop.py:Net", "1,1,9,9", 0, ""),
        ("shop.py:Net", "1,3,8,8", 1, "in conv"),
        ("shop.py:Net", "1,1,12,12", 1, "invalid for input of size"),
        ("shop.py:Net", "1,1,a", 2, "is no shape"),
        ("shop.py:Net", "1,1,8,8:int77", 2, "is no dtype"),
        ("shop.py:Net", "99999999,999999999,9999999", 1, "--input"),
    ],
)
def test_one_line_each(here, capsys, model, shape, code, text):
    if not code:
        assert main(["inspect", model, "--input", shape]) == 0
        return
    found, line = fails(capsys, model, "--input", shape)
    assert found == code and text in line


def test_one_place_sees_all(here, capsys):
    (here / "globe.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.AdaptiveAvgPool2d(1))\n"
    )
    assert main(["inspect", "globe.py:net", "--input", "1,1,8,8"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:4] == ["1", "1x1x1", "8", "all"]
