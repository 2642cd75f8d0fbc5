"""``hopscreen report``: one page that needs nothing but itself."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sample_screen
from PIL import Image

from launch.cli import run_command
from launch.report import gather, render
from launch.report_figures import formula_text
from stores.screen_store import open_store

_names = itertools.count()


@pytest.fixture(params=["folder", "mongodb"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "screen")
    return f"{request.getfixturevalue('mongo_server')}/report_{next(_names)}"


class _Links(HTMLParser):
    """Collects all that a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset")]
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_page_and_figures(uri, tmp_path, capfd):
    with open_store(uri) as store:
        sample_screen.write(store)
    out = tmp_path / "out" / "report.html"
    assert run_command(["report", "--store", uri, "--out", str(out)]) == 0
    page = out.read_text()
    links = _Links()
    links.feed(page)
    assert links.fetched
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links.fetched)
    assert not {"script", "link", "iframe", "object", "a"} & set(links.tags)
    assert page.count("<img") == 4
    for words in (
        "Of 5 candidates, 4 are ranked",
        "Li<sub>2</sub>O",
        "0.280",
        "D: holds Hg",
        "NotConverged",
        "F.cif: no atoms",
        "mini [",
        "until forces fell below 0.05 eV/Å",
        "Estimates marked",
        "J. Chem. Phys. 113, 9901 (2000)",
        "mace-torch 0.3",
        "ab" * 8,
        "band model → MACE-NEB",
    ):
        assert words in page, words
    # Nothing hostile has become more than text.
    assert "<script" not in page
    assert "&lt;/script&gt;" in page
    # References are numbered from 1, and each number stands in the text.
    references = len(re.findall("<li>", page))
    cited = {int(n) for found in re.findall(r"\[([\d, ]+)\]", page) for n in found.split(",")}
    assert cited == set(range(1, references + 1))
    folder = out.with_name("report_figures")
    figures = ("funnel", "parity", "profiles", "ranking")
    names = [f"{figure}.{kind}" for figure in figures for kind in ("png", "svg")]
    assert sorted(path.name for path in folder.iterdir()) == names
    for path in folder.glob("*.svg"):
        ElementTree.parse(path)
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300
    assert "report.html" in capfd.readouterr().err


def test_empty_store(uri, tmp_path):
    open_store(uri).close()
    out = tmp_path / "empty.html"
    assert run_command(["report", "--store", uri, "--out", str(out)]) == 0
    page = out.read_text()
    assert "No material is ranked." in page
    assert page.count("<img") == 1


def test_hosts_without_profiles_and_of_thousands_of_atoms(uri, tmp_path):
    with open_store(uri) as store:
        sample_screen.write_large_host(store)
    with open_store(uri, create=False) as store:
        page, files = render(gather(store))
    assert sorted(files) == ["funnel.png", "funnel.svg", "ranking.png", "ranking.svg"]
    assert "large:Li" in page
    assert "nudged elastic bands" not in page
    assert len(page) < 1_000_000


def test_top_and_filter(uri, tmp_path):
    with open_store(uri) as store:
        sample_screen.write(store)
    with open_store(uri, create=False) as store:
        report = gather(store, top=1, where='{"level": "band"}')
        assert [doc.material_id for doc in report.ranked] == ["B"]
        page, _ = render(report)
    assert ">2</td>" in page  # its place in the whole ranking
    # Only what stands behind the materials shown is described.
    assert "nudged elastic bands" not in page


def test_the_same_store_gives_the_same_figures(tmp_path):
    with open_store(str(tmp_path / "screen")) as store:
        sample_screen.write(store)
        first, second = (render(gather(store))[1] for _ in range(2))
    assert first == second


def test_formulas_in_figures_are_text_and_no_mathematics():
    assert formula_text("Li7La3Zr2O12") == "Li₇La₃Zr₂O₁₂"
    assert formula_text("$\\frac{1$") == "$\\frac{1$"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--where", "{"], "not valid JSON"),
        (["--out", "/proc/none/report.html"], "cannot be written"),
        (["--top", "0"], "--top"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capfd, words, said):
    with open_store(str(tmp_path / "screen")) as store:
        sample_screen.write(store)
    out = ["--out", str(tmp_path / "r.html")]
    assert run_command(["report", "--store", str(tmp_path / "screen"), *out, *words]) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
