"""The book as it is built: every chapter with its verdicts and pictures, a search, and no link to nowhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from halab import book, chain
from halab.errors import HalabError

# The theme's and the parser's own use of Sphinx, which pyproject.toml keeps below the version that ends it.
pytestmark = pytest.mark.filterwarnings("ignore:.*Check CHANGES for Sphinx API modifications")


class Page(HTMLParser):
    """A page's links, what it loads, its pictures, the places that a link can lead to, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loads: list[str] = []
        self.pictures: list[str] = []
        self.places: set[str] = set()
        self.words = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attributes}
        self.places |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.loads += [found[key] for key in ("src", "href") if key in found and tag in ("script", "link", "img", "iframe")]
        if tag == "img":
            self.pictures.append(found["src"])

    def handle_data(self, text: str) -> None:
        self.words += text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return book.build(tmp_path_factory.mktemp("book")).parent


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.name: Page(path) for path in site.glob("*.html")}


@pytest.mark.parametrize("name", chain.chapters())
def test_every_chapter_has_its_page_with_its_verdicts_and_pictures(pages: dict[str, Page], name: str) -> None:
    page = pages[f"{name}.html"]
    cells = nbformat.read(chain.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    outputs = [o for c in cells for o in c.get("outputs", [])]
    score = re.match(r".* points", outputs[-1].data["text/plain"])
    assert score
    assert score[0] in page.words
    tables = "".join(o.get("data", {}).get("text/html", "") for o in outputs)
    assert page.path.read_text().count("✔ passed</td>") == tables.count("✔ passed</td>")
    assert len(page.pictures) == sum("image/png" in o.get("data", {}) for o in outputs)


def test_the_first_page_leads_to_every_chapter_in_order(pages: dict[str, Page]) -> None:
    found = list(dict.fromkeys(link for link in pages["index.html"].links if re.match(r"\d\d-", link)))
    assert found == [f"{name}.html" for name in chain.chapters()]


def test_there_are_pages_on_how_to_run_it_and_on_who_checks_the_checks(pages: dict[str, Page]) -> None:
    assert "make run" in pages["run.html"].words
    assert "a-second-holder" in pages["checks.html"].words
    assert {f"{path.stem}.html" for path in chain.NOTEBOOKS.glob("*.md")} <= set(pages)


def test_the_search_finds_quorum_where_it_is_explained(site: Path) -> None:
    index = json.loads((site / "searchindex.js").read_text().removeprefix("Search.setIndex(").rstrip().removesuffix(")"))
    found = [index[part].get("quorum", []) for part in ("terms", "titleterms")]
    numbers = [number for some in found for number in (some if isinstance(some, list) else [some])]
    assert "02-corosync" in {index["docnames"][number] for number in numbers}


def test_no_link_leads_nowhere(site: Path, pages: dict[str, Page]) -> None:
    broken = []
    for page in pages.values():
        for link in page.links + page.loads:
            to = urlsplit(link)
            if to.scheme or link == "#":
                continue
            target = (page.path.parent / unquote(to.path)).resolve() if to.path else page.path
            there = target.exists() and target.is_relative_to(site)
            if not there or (to.fragment and target.suffix == ".html" and unquote(to.fragment) not in pages[target.name].places):
                broken.append((page.path.name, link))
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    assert not [load for page in pages.values() for load in page.loads if urlsplit(load).scheme not in ("", "data")]
    styles = [path.read_text() for path in (site / "_static").rglob("*.css")]
    assert not [found for style in styles for found in re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//.{60}", style)]


def test_pages_name_nothing_of_this_machine(pages: dict[str, Page]) -> None:
    assert not [name for name, page in pages.items() if str(book.ROOT) in page.path.read_text()]


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HalabError, match="executed chapter"):
        book.build(tmp_path / "book", tmp_path)


def test_a_warning_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    for name in chain.chapters():
        (notebooks / f"{name}.ipynb").write_text((chain.NOTEBOOKS / f"{name}.ipynb").read_text())
    (notebooks / "glossary.md").write_text("# Glossary\n\n[Nowhere](nowhere.md)\n")
    monkeypatch.setattr(chain, "NOTEBOOKS", notebooks)
    with pytest.raises(HalabError, match="without a warning"):
        book.build(tmp_path / "book", notebooks)


def test_shell_cells_are_coloured_as_shell_and_others_as_python() -> None:
    kinds = {str(token) for token, _ in book.CellLexer().get_tokens("%%node pacemaker01\nif true; then echo $VIP; fi\n")}
    assert {"Token.Comment.Preproc", "Token.Keyword", "Token.Name.Variable"} <= kinds
    assert ("Token.Keyword.Namespace", "import") in {(str(t), v) for t, v in book.CellLexer().get_tokens("%load_ext halab\nimport halab\n")}


def test_the_lexer_loses_nothing() -> None:
    for text in ("%%nodes --fails\necho a\n", "%%host", "lab.down()\n"):
        assert "".join(value for _, value in book.CellLexer(ensurenl=False, stripnl=False).get_tokens(text)) == text
