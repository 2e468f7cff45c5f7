"""
A bar that grows, for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress

__all__ = ["Bar", "showBar"]

_STEPS = 200
"""
It is drawn so many times at most: to draw it takes longer than many a request.
"""


class Bar:
    """
    Shows how many of a number are done.
    """

    def __init__(self, console: Console, progress: Progress, total: int) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=total)
        self._step = max(1, total // _STEPS)
        self._total = total
        self._done = 0
        self._drawn = 0

    def advance(self, count: int) -> None:
        """
        So many more are done.
        """
        self._done += count
        if self._done - self._drawn >= self._step or self._done == self._total:
            self._drawn = self._done
            self._progress.update(self._task, completed=self._done, refresh=True)

    def tell(self, text: str, style: str = "red") -> None:
        """
        Write a line above the bar, such as an error.
        """
        self._console.print(text, style=style)


@contextmanager
def showBar(stream: TextIO, total: int, noColor: bool) -> Iterator[Bar]:
    """
    A bar on a stream that is a terminal, while one is in the context.
    """
    console = Console(
        file=stream,
        no_color=noColor,
        highlight=False,
        markup=False,
        # The text is a job's, and stays as it is.
        emoji=False,
        soft_wrap=True,
    )
    # Drawn here, when something has changed, and not by a thread all the time.
    # What is written to the other stream is not the bar's to place.
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        yield Bar(console, progress, total)
