"""The demo, small: that it runs, repeats itself, and writes a page that needs nothing else."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser

import pytest

for module in ("torch", "matplotlib", "jinja2", "rich", "PIL", "skimage", "mlxtend"):
    pytest.importorskip(module)

from poolwise import data  # noqa: E402
from poolwise.cli import main  # noqa: E402


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick run: its folder and its facts."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "demo"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("poolwise.cli.demo.print_json", printed.append)
        assert main(["demo", "--quick", "--out", str(folder), "--json"]) == 0
    return folder, json.loads(json.dumps(printed[0]))


def test_facts(quick):
    _, facts = quick
    nets = {net["kind"]: net for net in facts["nets"]}
    assert set(nets) == {"max", "avg", "strided"}
    assert len({net["parameters"] for net in facts["nets"]}) == 1
    assert nets["max"]["multiply_adds_at_stride_1"] > 4 * nets["max"]["multiply_adds"]
    for net in facts["nets"]:
        assert 0 <= net["test_accuracy"] <= 1 and net["losses"][-1] < net["losses"][0]
        assert all(0 <= share <= 1 for share in net["unchanged_by_shift"].values())


def test_files_are_whole(quick):
    folder, facts = quick
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "pooling.png"]
    assert facts["files"] == [str(folder / "pooling.png"), str(folder / "index.html")]
    assert (folder / "pooling.png").read_bytes().startswith(b"\x89PNG")


VOID = ("meta", "link", "br", "path", "rect", "image")


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.unbalanced = [], [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.unbalanced.append(tag)


def test_the_page_needs_nothing_else(quick):
    page = (quick[0] / "index.html").read_text()
    links = Links()
    links.feed(page)
    assert not links.unbalanced and not links.open
    assert links.links and all(link.startswith("data:") for link in links.links)
    assert not re.search(r"https?://|@import|url\(|<script", page)
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_the_page_escapes(quick, monkeypatch):
    from poolwise.cli.demo import page, photo

    facts = json.loads(json.dumps(quick[1]))
    facts["data"]["source"] = "<script>alert(1)</script>"
    photograph = data.photograph()
    text = page.render(facts, photograph, photo.panels(photograph))
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_the_tables_on_the_terminal(quick, capsys):
    from poolwise.cli.demo import text

    text.show(quick[1])
    out = capsys.readouterr().out
    assert "max pooling" in out and "times as many" in out and "index.html" in out
    assert "…" not in out


def test_digits_are_real_and_the_parts_are_apart():
    digits = data.mnist5k()
    assert digits.train_images.shape == (4000, 1, 28, 28) and digits.test_images.shape == (1000, 1, 28, 28)
    assert sorted(set(digits.test_labels.tolist())) == list(range(10))
    train = {image.tobytes() for image in digits.train_images}
    assert len(train) == 4000 and not any(image.tobytes() in train for image in digits.test_images)


def test_what_is_missing_is_named(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "demo")
    monkeypatch.setattr("poolwise.data.sets.FASHION", tmp_path)
    monkeypatch.delenv("POOLWISE_DATA", raising=False)
    assert main(["demo", "--data", "fashion-mnist", "--out", out]) == 1
    assert "dataset-fashion-mnist" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["demo", "--out", out]) == 1
    err = capsys.readouterr().err
    assert "poolwise[demo]" in err and err.count("\n") == 1


def test_fashion_mnist_from_its_files(tmp_path, monkeypatch):
    import gzip
    import struct

    import numpy as np

    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for part, count in (("train", 5), ("t10k", 3)):
        body = struct.pack(">IIII", 0x803, count, 28, 28) + bytes(count * 784)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(body))
        body = struct.pack(">II", 0x801, count) + bytes(range(count))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(body))
    monkeypatch.setenv("POOLWISE_DATA", str(tmp_path))
    found = data.fashion_mnist()
    assert found.train_images.shape == (5, 1, 28, 28) and np.array_equal(found.test_labels, [0, 1, 2])
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 9, 28, 28)))
    with pytest.raises(ValueError, match="IDX"):
        data.fashion_mnist()
