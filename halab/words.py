"""What a chapter has to say differently of a container and of a virtual machine: told from the engine that is seen.

One text for both engines stands in the chapter; these are the places where they differ, as Markdown in
`templates/words.toml`: subject -> engine -> text.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import Markdown

    from halab.lab import Lab


def table() -> dict[str, dict[str, str]]:
    """subject -> engine -> text."""
    return tomllib.loads((files("halab") / "templates" / "words.toml").read_text())


def of(lab: Lab, subject: str) -> Markdown:
    """What is to be said about a subject in this lab. Raises KeyError when nobody wrote it."""
    from IPython.display import Markdown

    return Markdown(table()[subject][lab.settings.engine].strip())
