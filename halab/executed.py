"""The executed notebook as papermill keeps it on disk: once a second, not twice a cell.

Writing a chapter takes 5 ms, most of it the format's validation; papermill's own engine does it before and after each
cell, also of prose, which was 2 s of the chain. Whoever ends a run loses a second's outputs at most.

When half of the cells are done, `halfway` is called: what the next chapter needs is made ready then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbformat import NotebookNode

#: Seconds between two writings, and papermill's name for this way.
EVERY, NAME = 1.0, "halab"


class Keeper(NotebookExecutionManager):
    """papermill's record of an execution: it decides when to save, this how often at most. The end is always saved."""

    halfway: Callable[[], object] = staticmethod(lambda: None)

    def cell_start(self, cell: NotebookNode, cell_index: int | None = None, **kwargs: Any) -> None:
        if cell_index == len(self.nb.cells) // 2:
            self.halfway()
        super().cell_start(cell, cell_index, **kwargs)

    def save(self, **kwargs: Any) -> None:
        if self.end_time or (self.now() - self.last_save_time).total_seconds() >= EVERY:
            super().save(**kwargs)


class Engine(NBClientEngine):
    """nbclient's engine with that record. Raises what papermill's own raises."""

    @classmethod
    def execute_notebook(
        cls, nb: NotebookNode, kernel_name: str, output_path: str | None = None, progress_bar: bool = False, log_output: bool = False,
        autosave_cell_every: int = 30, halfway: Callable[[], object] = Keeper.halfway, **kwargs: Any,
    ) -> NotebookNode:  # fmt: skip
        keeper = Keeper(nb, output_path, log_output, progress_bar, autosave_cell_every)
        keeper.halfway = halfway
        keeper.notebook_start()
        try:
            cls.execute_managed_notebook(keeper, kernel_name, log_output=log_output, **kwargs)
        finally:
            keeper.notebook_complete()
        return keeper.nb


papermill_engines.register(NAME, Engine)
