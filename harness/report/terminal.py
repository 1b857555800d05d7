"""Where the words for people go: a terminal, or a file or pipe that stands in for one."""

from __future__ import annotations

import os
import sys
from typing import IO

from rich.console import Console
from rich.text import Text


class ReportConsole(Console):
    """A rich console that can neither end the run nor be upset by a character.

    When whoever reads our output goes away (`... | head`), rich would exit with status 1,
    which here says that the firmware is broken. This one falls silent instead.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        """Write to `file`, or to standard output."""
        if file is None and hasattr(sys.stdout, "reconfigure"):
            # A reason may hold what the terminal's encoding cannot write.
            sys.stdout.reconfigure(errors="backslashreplace")
        super().__init__(file=file, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Write nothing any more; let go into the void what others still print."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def on_terminal(console: Console) -> bool:
    """Whether somebody watches.

    rich's own answer is not enough: CI servers set FORCE_COLOR, which makes rich take a log
    file for a terminal.
    """
    return console.is_interactive and console.file.isatty()


def say(console: Console, text: str, style: str = "", *, whole: bool = False) -> None:
    """Print a line. It is wrapped between words on a terminal, unless it is to stay `whole`."""
    console.print(Text(text, style=style), soft_wrap=whole or not on_terminal(console))
