"""Two ways to show how far something has got: lines that are redrawn, and a few plain lines for a pipe."""

from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from triptych.rundir.terminal import is_live

_REDRAW = 0.25  # seconds between two drawings
_PLAIN_SHARE = 0.1  # of the whole between two plain lines, or
_PLAIN_FIRST = 5.0  # seconds until the first plain line, a sign of life
_PLAIN_SECONDS = 30.0  # seconds since the last, or
_PLAIN_GROWTH = 0.02  # of the time so far: a run of days prints hundreds of lines, not thousands


@dataclass(frozen=True)
class Status:
    """What is going on: `label` (training), `done` of `total`, and facts such as `loss 0.42`."""

    label: str
    done: int
    total: int | None
    facts: tuple[str, ...] = ()

    @property
    def count(self) -> str:
        """`1,234/5,000`."""
        return f"{self.done:,}/{self.total:,}" if self.total else f"{self.done:,}"


class Display(Protocol):
    """Shows a status. `due` is cheap and asked often; `show` is not called unless it is due."""

    def due(self, now: float, done: int, total: int | None) -> bool:
        """Whether it is time to show something."""
        ...

    def show(self, status: Status, now: float) -> None:
        """Show it now."""
        ...

    def line(self, text: str) -> None:
        """Print a line that stays."""
        ...

    def close(self) -> None:
        """Take down what does not stay."""
        ...


class LiveDisplay:
    """Two lines at the foot of a terminal: a bar, and the facts below it."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        # Its own thread would take the interpreter's lock from training; drawing between steps is enough.
        self._live = Live(console=screen, auto_refresh=False, transient=True)
        self._live.start()
        self._drawn = 0.0

    def due(self, now: float, done: int, total: int | None) -> bool:
        """At most four times a second."""
        return now - self._drawn >= _REDRAW

    def show(self, status: Status, now: float) -> None:
        """Redraw both lines."""
        self._drawn = now
        self._live.update(_two_lines(status), refresh=True)

    def line(self, text: str) -> None:
        """Print above the two lines."""
        self._screen.print(Text(text))

    def close(self) -> None:
        """Remove both lines."""
        self._live.stop()


class PlainDisplay:
    """Whole lines, few of them."""

    def __init__(self, screen: Console, now: float) -> None:
        self._screen = screen
        self._begun = self._printed = now
        self._mark: int | None = None
        self._wait = _PLAIN_FIRST

    def due(self, now: float, done: int, total: int | None) -> bool:
        """Every tenth of the whole, or every half minute, later more seldom; without a total only by time."""
        if total and self._mark is None:
            self._mark = done
        tenth = bool(total) and done - (self._mark or 0) >= (total or 0) * _PLAIN_SHARE
        if tenth or now - self._printed >= self._wait:
            self._mark = done if total else self._mark
            return True
        return False

    def show(self, status: Status, now: float) -> None:
        """Print one line."""
        self._printed = now
        self._wait = max(_PLAIN_SECONDS, _PLAIN_GROWTH * (now - self._begun))
        self.line("  ".join((f"{status.label} {status.count}", *status.facts)))

    def line(self, text: str) -> None:
        """Print a line."""
        self._screen.print(Text(text))

    def close(self) -> None:
        """Nothing to take down."""


def display(screen: Console, now: float) -> Display:
    """The display that this console can show."""
    return LiveDisplay(screen) if is_live(screen) else PlainDisplay(screen, now)


def _two_lines(status: Status) -> RenderableType:
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True, justify="right")
    bar.add_row(
        Text(status.label, style="bold"),
        ProgressBar(
            total=status.total, completed=status.done, pulse=status.total is None, style="grey35", complete_style="cyan"
        ),
        Text(status.count),
    )
    facts = Text("  ".join(status.facts), style="dim", no_wrap=True, overflow="ellipsis")
    return Group(bar, facts)
