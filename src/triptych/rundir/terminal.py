"""The one place that knows what the terminal can show."""

import functools
import os

from rich.console import Console


class _Screen(Console):
    """A console whose reader may go away (`triptych train | head`) without ending the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())


@functools.cache
def console() -> Console:
    """The console everything is printed on: colours and live lines on a terminal, plain text when piped.

    One for the whole process, because a live display can only keep out of the way of prints that it knows of.
    """
    return _Screen(highlight=False, soft_wrap=True)


def is_live(screen: Console) -> bool:
    """Whether lines on this console may be redrawn: a real terminal that understands control codes."""
    return screen.is_terminal and not screen.is_dumb_terminal


def show_cursor() -> None:
    """Bring the cursor back by one write, safe inside a signal handler; nothing when piped."""
    if is_live(console()):
        os.write(console().file.fileno(), b"\x1b[?25h")
