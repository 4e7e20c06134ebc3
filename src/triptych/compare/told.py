"""What a comparison found, for people."""

from collections.abc import Sequence

from rich.text import Text

from triptych.analysis.changes import Change
from triptych.analysis.metrics import STEP
from triptych.analysis.traces import ColumnGaps, TraceComparison, relative_difference
from triptych.compare.findings import Findings
from triptych.rundir import console

_LONG = 36  # letters; longer values stand one above the other


def show(found: Findings) -> None:
    """Prints what differs: settings, surroundings, metrics; then the last values and one line with the verdict."""
    for name, side in (("first", found.first), ("second", found.second)):
        _say(f"{name:<6}  {side.path}  {_span([int(row[STEP]) for row in side.table.rows])}, {side.status}")
    _changes("settings (config.yaml)", found.settings)
    if found.surroundings is None:
        _say("\nversions, device and command: not compared, as a run without summary.json does not tell its own")
    else:
        _changes("versions, device and command (summary.json)", found.surroundings)
    trace = found.trace
    _title(f"metrics at {_span(trace.shared, 'shared')}")
    unequal = [column for column in trace.columns if column.largest is not None]
    if unequal:
        _table([["", "values", "differ from", "first", "second", "relative", "largest", "at step"],
                *(_column_row(column) for column in unequal)])  # fmt: skip
    if equal := [f"{column.name}{_unmatched(column)}" for column in trace.columns if column.largest is None]:
        _say(f"equal to the last bit: {', '.join(equal)}")
    for side, steps, columns in zip(("first", "second"), trace.only, trace.columns_only, strict=True):
        if steps:
            _say(f"only the {side} has {_span(steps)}")
        if columns:
            _say(f"only the {side} has {', '.join(columns)}")
    _title("last values")
    _table([["", "first", "second", "relative"], *_final_rows(found)])
    screen = console()
    screen.print()
    screen.print(Text(verdict(trace), style="bold green" if trace.equal else "bold red"))


def verdict(trace: TraceComparison) -> str:
    """One line: equal, equal within the tolerance, or where they part."""
    where = f"{len(trace.columns)} columns at {_span(trace.shared, 'shared')}"
    if trace.bit_equal:
        return f"equal to the last bit: {where}"
    assert trace.largest is not None
    name, gap = trace.largest
    largest = f"the largest relative difference is {gap.relative:.3g} ({name} at step {gap.step:,})"
    if trace.parting is None:
        return f"equal within tolerance={trace.tolerance:g}: {where}; {largest}"
    first, parting = trace.parting
    return f"different from step {parting.step:,} on: {first} is {parting.first!r} and {parting.second!r}; {largest}"


def _column_row(column: ColumnGaps) -> list[str]:
    assert column.largest is not None
    largest = [f"{column.largest.relative:.3g}", f"{column.largest.step:,}"]
    name, values = f"{column.name}{_unmatched(column)}", f"{len(column.steps):,}"
    parting = column.parting
    if parting is None:
        return [name, values, "none", "", "", "", *largest]
    apart = [repr(parting.first), repr(parting.second), f"{parting.relative:.3g}"]
    return [name, values, f"step {parting.step:,}", *apart, *largest]


def _unmatched(column: ColumnGaps) -> str:
    counts = zip(column.unmatched, ("first", "second"), strict=True)
    told = " and ".join(f"{count:,} more in the {side}" for count, side in counts if count)
    return f" ({told})" if told else ""


def _final_rows(found: Findings) -> list[list[str]]:
    left, right = found.first.final, found.second.final
    rows = []
    for name in dict.fromkeys((*left, *right)):
        here, there = left.get(name), right.get(name)
        together = here is not None and there is not None and here[0] == there[0]
        relative = f"{relative_difference(here[1], there[1]):.3g}" if here and there and together else ""
        # A last value is that of the run's own last step unless it says another one.
        cells = [
            "" if last is None else f"{last[1]:.6g}" + ("" if last[0] == side.last_step else f" (step {last[0]:,})")
            for last, side in ((here, found.first), (there, found.second))
        ]
        rows.append([name, *cells, relative])
    return rows


def _changes(title: str, found: Sequence[Change]) -> None:
    if not found:
        _say(f"\n{title}: the same")
        return
    _title(title)
    rows = [[change.key, _value(change.first), _value(change.second)] for change in found]
    short = [row for row in rows if max(map(len, row[1:])) <= _LONG]
    if short:
        _table([["", "first", "second"], *short], right=False)
    for key, first, second in (row for row in rows if row not in short):
        _say(f"{key}\n  first   {first}\n  second  {second}")


def _value(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _span(steps: list[int], what: str = "") -> str:
    count = f"{len(steps):,} {what} step{'s' if len(steps) > 1 else ''}".replace("  ", " ")
    return count + (f" ({steps[0]:,} to {steps[-1]:,})" if len(steps) > 1 else f" ({steps[0]:,})")


def _title(text: str) -> None:
    screen = console()
    screen.print()
    screen.print(Text(text, style="bold"))


def _table(rows: list[list[str]], right: bool = True) -> None:
    """Rows of one length, the first with the names of the columns; lines stay whole, however narrow the screen is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for place, row in enumerate(rows):
        cells = [
            f"{cell:>{width}}" if right and number else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console().print(Text("  ".join(cells).rstrip(), style="" if place else "dim"))


def _say(text: str) -> None:
    console().print(Text(text))
