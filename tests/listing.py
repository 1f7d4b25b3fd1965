"""What checks there are, from their modules, those that a chapter imports included."""

import inspect
import sys
from importlib import import_module
from types import ModuleType

from halab import grading


def modules() -> dict[str, ModuleType]:
    """chapter -> its module in checks/."""
    sys.path.insert(0, str(grading.CHECKS))
    try:
        return {name: import_module(f"test_{name.replace('-', '_')}") for name in grading.chapters()}
    finally:
        sys.path.remove(str(grading.CHECKS))


def checks(module: ModuleType) -> dict[str, tuple[str, dict]]:
    """name -> (title, what its marker says)."""
    found = {}
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if name.startswith("test_"):
            mark = next(m for m in vars(function)["pytestmark"] if m.name == "check")
            found[name.removeprefix("test_")] = ((function.__doc__ or "").splitlines()[0], mark.kwargs)
    return found


def ids() -> list[str]:
    """Ids of all checks, in the order in which pytest collects them."""
    found = [(chapter, name) for chapter, module in modules().items() for name in vars(module)]
    return [f"{chapter}/{name.removeprefix('test_')}" for chapter, name in found if name.startswith("test_")]
