"""The page and the table of ordinary and of odd studies: self-contained, true to the numbers, never a NaN."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

for module in ("scipy", "matplotlib", "jinja2", "rich"):
    pytest.importorskip(module)

from synthetic import ALL, HOLDS, NOTHING, header, study  # noqa: E402

from poolwise.study import table  # noqa: E402
from poolwise.study.claims import judge  # noqa: E402
from poolwise.study.figures import main_figure  # noqa: E402
from poolwise.study.page import command, render  # noqa: E402

SMALL = ("max2", "avg2", "none", "strided")
VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """What a browser would make of the page: ids, links, text, and whether tags close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.alone: list[dict[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.tags.append(tag)
        if facts.get("id"):
            self.ids.append(str(facts["id"]))
        self.links += [str(facts[name]) for name in ("href", "src", "xlink:href", "action") if facts.get(name)]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("svg", "img"):
            self.alone.append(facts)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def check(page: str) -> Reader:
    """What holds of every page."""
    read = Reader(page)
    assert not read.open
    assert len(read.ids) == len(set(read.ids)), "ids clash"
    assert "script" not in read.tags
    for link in read.links:
        assert link.startswith(("#", "data:")), link
        assert not link.startswith("#") or link[1:] in read.ids, link
    assert not re.search(r"url\((?!#)|@import|<\?xml|<!ENTITY", page)
    for name in re.findall(r"url\(#([^)]*)\)", page):
        assert name in read.ids, name
    for facts in read.alone:
        assert facts.get("aria-label") or facts.get("alt")
    levels = [int(tag[1]) for tag in read.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    words = set(re.findall(r"[\w+-]+", " ".join(read.text).lower()))
    assert not re.search("<built-in|object at 0x", "".join(read.text))
    assert not words & {"nan", "inf", "-inf", "+inf", "none.0", "undefined"}
    return read


@pytest.fixture(scope="module")
def whole() -> str:
    return render(*study(HOLDS, pictures=True))


def test_the_whole_page(whole: str) -> None:
    read = check(whole)
    assert {
        "compute",
        "overfitting",
        "field",
        "translation",
        "features",
        "purposes",
        "figure-maps",
        "figure-patches",
    } <= set(read.ids)
    assert "data:image/png;base64," in whole
    assert "quick run" not in whole and "incomplete" not in whole


def test_colours_follow_the_page(whole: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", whole, re.DOTALL)
    assert len(drawings) > 15
    used = set(re.findall(r"var\((--[\w]+)\)", "".join(drawings)))
    assert {"--ink", "--soft", "--max", "--avg", "--strided"} <= used
    for theme in re.findall(r":root \{(.*?)\}", whole, re.DOTALL)[:2]:
        assert all(f"{name}:" in theme for name in used)
    assert not set(re.findall(r"(?:fill|stroke): (#\w+)", "".join(drawings))) - {"#fff"}


def test_every_number_of_the_claims_is_on_the_page(whole: str) -> None:
    head, variants, runs = study(HOLDS, pictures=True)
    text = re.sub(r"\s+", " ", " ".join(Reader(whole).text))
    for claim in judge(head, variants, runs):
        for answer in claim.answers:
            assert answer.text in text
            for row in answer.rows:
                if row.found is None:
                    continue
                scale, found = (100 if row.unit in ("share", "points") else 1), row.found
                box = text[text.index(claim.measured) :]
                line = box[box.index(f" {row.what} {row.sides[0]} / {row.sides[1]} ") :][:400]
                shown = [float(number.replace("\u2212", "-")) for number in re.findall(r"[+\u2212]?\d+\.\d+", line)][:5]
                wanted = [scale * value for value in (found.first, found.second, found.mean, found.low, found.high)]
                assert shown == pytest.approx(wanted, abs=0.0501), row.what
        for line in (*claim.strength, *claim.caveats):
            assert line in text


def test_one_seed_compares_nothing_and_says_why() -> None:
    page = render(*study(HOLDS, seeds=1, variants=SMALL, pictures=True))
    text = " ".join(check(page).text)
    assert "There is only 1 seed, so nothing is compared" in re.sub(r"\s+", " ", text)
    boxes = re.findall(r'<section class="box claim (\w+)"', page)
    assert boxes == ["held", "open", "open", "open", "open"]  # counts need no seeds
    assert "shown to be ahead" not in text and "shown to be behind" not in text


def test_names_cannot_be_markup() -> None:
    evil = "<script>alert(1)</script>"
    head, variants, runs = study(
        HOLDS, seeds=3, sizes=(500,), variants=SMALL, classes=[evil, '"><img src=x onerror=1>', "&amp;"]
    )
    head = replace(
        head, data=replace(head.data, name=evil, source="{{ 7*7 }}", licence="</style><b>"), machine={"processor": evil}
    )
    variants = [replace(variant, title=f"{variant.title} {evil}") for variant in variants]
    page = render(head, variants, runs)
    check(page)
    assert "<script" not in page and "onerror=1>" not in page and "</style><b>" not in page
    assert "{{ 7*7 }}" in page


def test_a_hundred_classes_and_one_channel_or_three() -> None:
    names = [f"a rather long class name, number {i}, with words in it" for i in range(120)]
    for shape in ((3, 8, 8), (2, 64, 48)):
        page = render(
            *study(HOLDS, seeds=3, sizes=(200,), variants=("max2", "none"), classes=names, shape=shape, pictures=True)
        )
        check(page)
        assert "120 classes" in page and f"{shape[1]} &times; {shape[2]}" in page


def test_missing_variants_and_records() -> None:
    for variants in (("max2",), ("allconv", "convpool")):
        check(render(*study(NOTHING, seeds=3, sizes=(300,), variants=variants)))
    head, variants, runs = study(NOTHING, seeds=3, sizes=(300,), variants=SMALL)
    bare = [
        replace(run, crops=None, circular=None, map_change={}, fields={}, probes={}, probes_untrained={})
        for run in runs
    ]
    check(render(replace(head, settings=replace(head.settings, shifts=())), variants, bare))
    check(render(head, [replace(variant, depths=()) for variant in variants], bare))


def test_partial_and_quick_studies_say_so() -> None:
    head, variants, runs = study(NOTHING, seeds=3, sizes=(100, 300), variants=SMALL, quick=True)
    for count in (0, 7):
        page = render(head, variants, runs[:count])
        check(page)
        assert f"incomplete study: {count} of 24 planned runs" in page
        assert "This was a quick run" in page


def test_numbers_that_are_not_finite_are_left_out_and_said() -> None:
    head, variants, runs = study(NOTHING, seeds=4, sizes=(300,), variants=SMALL)
    runs[0] = replace(runs[0], train_loss=math.nan, test_error=math.inf, crops={"1": math.nan})
    page = render(head, variants, runs)
    check(page)
    assert "1 run gave numbers that are not finite" in page


def test_the_command_is_what_was_run() -> None:
    words = command(header(ALL, 5, (250, 1000)))
    assert words == f"poolwise study --data synthetic --variants {','.join(ALL)} --seeds 5 --sizes 250,1000 --steps 600"


def test_rendering_needs_no_torch() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(__file__.rsplit('/', 1)[0])!r}); import synthetic\n"
        "from poolwise.study.page import render\n"
        "from poolwise.study.table import as_dict\n"
        "records = synthetic.study(synthetic.HOLDS, seeds=3, sizes=(300,), variants=('max2', 'none'))\n"
        "render(*records), as_dict(*records)\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_summary_is_a_picture_of_1600_pixels() -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(main_figure(*study(HOLDS, seeds=3, variants=SMALL))))
    assert picture.format == "PNG" and picture.width == 1600
    assert len(picture.convert("RGB").getcolors(1 << 22)) > 50
    Image.open(io.BytesIO(main_figure(*study(NOTHING, seeds=1, sizes=(50,), variants=("max2",)))))


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_table(seeds: int) -> None:
    from rich.console import Console

    records = study(HOLDS, seeds=seeds)
    out = io.StringIO()
    table.show(*records, Console(file=out, width=120))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 120 or "behind" in text
    assert set(text) - set(map(chr, range(128))) <= {"\u2500", "\u00b1"}
    for name in (*ALL, *(claim.name for claim in judge(*records))):
        assert name in text
    assert ("nothing is compared" in text) == (seeds == 1)
    assert "nan" not in text


def test_plain_values_are_json() -> None:
    for seeds in (1, 4):
        plain = table.as_dict(*study(HOLDS, seeds=seeds))
        again = json.loads(json.dumps(plain, allow_nan=False))
        assert [claim["key"] for claim in again["claims"]] == [
            "compute",
            "overfitting",
            "field",
            "translation",
            "features",
        ]
        assert (again["claims"][1]["verdict"] == "not measured") == (seeds == 1)
