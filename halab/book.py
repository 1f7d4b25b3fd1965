"""The book: the executed chapters as a site to read, with figures and search.

    python -m halab.book [RUN]

Nothing is executed: the outputs are the committed ones, which nbval holds to the truth, or those of a run's
folder (`runs/latest`). Sphinx, myst-nb and sphinx-book-theme make the pages, what Jupyter Book is made of; a
warning of theirs is an error. The pages need no server and load nothing from elsewhere.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from IPython.lib.lexers import IPython3Lexer
from pygments.lexer import Lexer
from pygments.lexers.shell import BashLexer
from pygments.token import Comment, _TokenType
from sphinx.application import Sphinx

from halab import chain
from halab.errors import LabError, UsageError
from halab.exercise import BEGIN, END
from halab.record import clean
from halab.template import render

ROOT = Path(__file__).parent.parent
SITE = ROOT / "build" / "book"
STYLE = Path(__file__).parent / "templates" / "book.css"
#: Files that the README links to, and their names in the book.
PAGES = {"tests/mutants/MATRIX.md": "checks.md", "tests/nbval.cfg": "nbval.cfg"}
TITLE = "The HA workbook"
CONFIGURATION = {
    "project": TITLE,
    "extensions": ["myst_nb", "halab.book"],
    "nb_execution_mode": "off",
    "nb_merge_streams": True,
    "myst_heading_anchors": 3,
    "html_theme": "sphinx_book_theme",
    "html_title": TITLE,
    "html_static_path": [str(STYLE)],
    "html_css_files": [STYLE.name],
    "html_theme_options": {"use_fullscreen_button": False, "show_toc_level": 2, "navbar_persistent": [], "footer_content_items": []},
    "html_show_copyright": False,
}


class CellLexer(Lexer):
    """A cell of ours: shell below `%%host` and its kin, IPython otherwise."""

    name = "halab"

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        magic, newline, shell = text.partition("\n")
        if not re.match(r"%%(host|nodes?|console)\b", magic):
            yield from IPython3Lexer().get_tokens_unprocessed(text)
            return
        yield 0, Comment.Preproc, magic + newline
        for at, token, value in BashLexer().get_tokens_unprocessed(shell):
            yield len(magic + newline) + at, token, value


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx: this module is an extension too."""
    app.add_lexer("halab", CellLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def build(site: Path = SITE, executed: Path = chain.NOTEBOOKS) -> Path:
    """Make the site in `site`/html from the chapters in `executed`; its first page. Raises LabError, UsageError."""
    source = site / "source"
    shutil.rmtree(site, ignore_errors=True)
    source.mkdir(parents=True)
    _gather(source, executed)
    app = Sphinx(source, None, site / "html", site / "doctrees", "html", CONFIGURATION, status=None, freshenv=True, warningiserror=True)
    app.build()
    if app.statuscode:
        raise LabError("the book is built without a warning", "see above", "correct that page")
    return site / "html" / "index.html"


def _gather(source: Path, executed: Path) -> None:
    """The pages' sources: the chapters, the pages beside them, the README in two parts, the matrix of checks."""
    chapters = [_chapter(source, executed / f"{name}.ipynb") for name in chain.chapters()]
    pages = sorted(path.stem for path in chain.NOTEBOOKS.glob("*.md"))
    for page in pages:
        shutil.copy(chain.NOTEBOOKS / f"{page}.md", source)
    readme = (ROOT / "README.md").read_text().replace("](notebooks/", "](")  # chapters and pages lie beside it here
    for there, here in PAGES.items():
        readme = readme.replace(f"]({there})", f"]({here})")
        shutil.copy(ROOT / there, source / here)
    intro, rest = re.split(r"^(?=## )", readme, maxsplit=1, flags=re.M)
    (source / "run.md").write_text("# Run it yourself\n\n" + rest)
    intro = intro.removeprefix(f"# {TITLE}").strip()
    (source / "index.md").write_text(render("book.md.j2", title=TITLE, intro=intro, chapters=chapters, pages=[*pages, "run", "checks"]))


def _chapter(source: Path, path: Path) -> dict[str, str]:
    """Copy an executed chapter; its name, title and goal. Raises UsageError when it is not there."""
    if not path.exists():
        raise UsageError(f"{path} is an executed chapter", fix="halab run")
    notebook = clean(nbformat.read(path, as_version=4))
    notebook.metadata["language_info"]["pygments_lexer"] = "halab"
    for cell in notebook.cells:
        cell.source = re.sub(rf"(?m)^ *({BEGIN}|{END})\n?", "", cell.source)
    nbformat.write(notebook, source / path.name)
    first = notebook.cells[0].source
    title, goal = re.match(r"# (?:\d+\. )?(.*)", first), re.search(r"\*\*Goal\.\*\* (.*)", first)
    return {"name": path.stem, "title": title[1] if title else path.stem, "goal": goal[1] if goal else ""}


if __name__ == "__main__":
    print(f"open {build(SITE, *map(Path, sys.argv[1:]))}")
