"""Texts that halab writes: domain XML and a node's files, from `templates/`."""

from jinja2 import Environment, PackageLoader, StrictUndefined

_environment = Environment(
    loader=PackageLoader("halab"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True,
)  # fmt: skip


def render(name: str, **values: object) -> str:
    """The template's text; an undefined value raises jinja2.UndefinedError."""
    return _environment.get_template(name).render(**values)
