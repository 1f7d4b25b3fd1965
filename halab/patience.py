"""A line under a cell that takes long: for how long it has been at work. It goes when the cell ends.

Only where a person looks (JupyterLab of `halab lab`): what a run records must not hold times. Who has none left and
interrupts a cell is told so in a line, and not where in the lab's code it was.
"""

import os
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

#: Set by `halab lab` for its kernels.
DESK = "HALAB_DESK"
#: Seconds of silence before the line comes.
SILENCE = 3.0
EVERY = 1.0


class Patience:
    """Counts the seconds of the cell that runs; `show` opens a line and returns what changes it."""

    def __init__(self, show: Callable[[str], Callable[[str], object]]) -> None:
        self._show = show
        self._ended = Event()
        self._thread: Thread | None = None

    def begin(self, *_: object) -> None:
        self.end()
        self._ended = Event()
        self._thread = Thread(target=self._count, args=(self._ended,), daemon=True)
        self._thread.start()

    def end(self, *_: object) -> None:
        if self._thread:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _count(self, ended: Event) -> None:
        start = time.monotonic()
        if ended.wait(SILENCE):
            return
        change = self._show(f"at work, {SILENCE:.0f} s …")
        while not ended.wait(EVERY):
            change(f"at work, {time.monotonic() - start:.0f} s …")
        change("")


def watch(shell: Any) -> None:
    """Count in this shell, when a person looks at it."""
    shell.set_custom_exc((KeyboardInterrupt,), _interrupted)
    if DESK in os.environ and "HALAB_REPORT" not in os.environ:
        patience = Patience(_line)
        shell.events.register("pre_run_cell", patience.begin)
        shell.events.register("post_run_cell", patience.end)


def _interrupted(shell: Any, kind: type, error: BaseException, trace: object, tb_offset: int | None = None) -> list[str]:
    """What IPython shows of an interrupt instead of a traceback (`InteractiveShell.set_custom_exc`)."""
    told = ["KeyboardInterrupt: the cell was interrupted, by you or by its deadline; run it again when it is mended"]
    shell._showtraceback(kind, error, told)  # the place where every front end shows an error its own way
    return told


def _line(text: str) -> Callable[[str], object]:
    from IPython.display import HTML, display

    handle = display(HTML(text), display_id=True)
    return lambda text: handle.update(HTML(text)) if handle else None
