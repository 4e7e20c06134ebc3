"""The table of a benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from triptych.callbacks import words
from triptych.measure.timing import Spread
from triptych.rundir import console

_WIDEST = 110


@dataclass
class Row:
    """What one contender did in one mode; None for what is not known or does not apply.

    Args:
        mode: `train`, `inference` or `loader`.
        who: `triptych` or `timm`.
        samples: of one step.
        seconds: of one step.
        ratio: the peer's time over ours.
        saved_bytes: what autograd keeps for the backward pass.
        peak_bytes: the most that was allocated on a CUDA device.
        flops: of a sample.
        mfu: share of the device's peak.
    """

    mode: str
    who: str
    samples: int
    seconds: Spread
    ratio: Spread | None = None
    saved_bytes: int | None = None
    peak_bytes: int | None = None
    flops: int | None = None
    mfu: float | None = None

    @property
    def samples_per_second(self) -> float:
        """At the median time."""
        return self.samples / self.seconds.median

    def facts(self) -> dict[str, Any]:
        """Everything, as plain containers."""
        ratio = None if self.ratio is None else vars(self.ratio)
        return {
            **vars(self), "samples_per_second": self.samples_per_second, "seconds": vars(self.seconds), "ratio": ratio,
        }  # fmt: skip


def show(rows: list[Row], notes: list[str], file: Path) -> None:
    """Prints the table, then what must be known to read it."""
    columns: dict[str, Callable[[Row], str]] = {
        "": lambda row: row.mode,
        " ": lambda row: row.who,
        "samples/s": lambda row: words.rate(row.samples_per_second),
        "ms/step": lambda row: f"{row.seconds.median * 1e3:,.1f}",
        "timm / ours": lambda row: "" if row.ratio is None else _ratio(row.ratio),
        "saved MiB": lambda row: "" if row.saved_bytes is None else f"{row.saved_bytes / 2**20:,.1f}",
        "peak MiB": lambda row: "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f}",
        "GFLOPs": lambda row: "" if row.flops is None else f"{row.flops / 1e9:.3g}",
        "MFU": lambda row: "" if row.mfu is None else f"{row.mfu:.1%}",
    }
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, cell in columns.items():
        if any(cell(row) for row in rows):
            table.add_column(name, justify="left" if not name.strip() else "right", no_wrap=True)
    for row in rows:
        cells = [cell(row) for name, cell in columns.items() if any(cell(each) for each in rows)]
        table.add_row(*cells)
    screen = console()
    # A pipe is no narrower than the table.
    screen.print(table, width=max(screen.width, _WIDEST))
    for note in notes:
        screen.print(Text(note, style="dim"))
    screen.print(Text(f"results  {file}"))


def _ratio(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
