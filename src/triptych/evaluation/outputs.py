"""What an evaluation leaves: `metrics.json`, `per_class.csv`, the predictions, pictures and a page."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from triptych.analysis.bootstrap import Estimate
from triptych.analysis.calibration import draw_reliability
from triptych.analysis.class_table import COLUMNS
from triptych.analysis.confusion import draw_confusion
from triptych.analysis.grids import NameOf, draw_mistakes
from triptych.analysis.per_class import ClassScore
from triptych.analysis.recordings import Recording
from triptych.analysis.report import Table, build_report, confused_table
from triptych.analysis.results import ImageOf, most_confused
from triptych.errors import UserError
from triptych.evaluation.scores import NOT_SHARES, SetScores
from triptych.rundir import RunDirectory, file_name, write_atomic

_LABELS_TOLD = 5  # names in a line


def shown(name: str, estimate: Estimate) -> str:
    """`53.7% (51.3 to 56.2)`, or for a loss `1.5303 (1.4500 to 1.6123)`."""
    share = name not in NOT_SHARES
    value = f"{estimate.value:.1%}" if share else f"{estimate.value:.4f}"
    if estimate.low is None or estimate.high is None:
        return value
    bounds = (f"{100 * bound:.1f}" if share else f"{bound:.4f}" for bound in (estimate.low, estimate.high))
    return f"{value} ({' to '.join(bounds)})"


def set_numbers(scores: SetScores) -> dict[str, Any]:
    """Everything measured on a set, as plain data; a number that is not finite is null."""
    rules = scores.rules
    calibration = scores.calibration
    return {
        "samples": scores.samples,
        "unreadable": [{"name": each.name, "reason": each.reason} for each in scores.said.failures],
        "classes_without_samples": scores.absent,
        "metrics": {name: finite(asdict(each)) for name, each in scores.metrics.items()},
        "intervals": {"level": 0.95, "resamples": rules.resamples, "seed": rules.seed, "stratified": False}
        if rules.resamples
        else None,
        "threshold": rules.threshold if scores.multi_label else None,
        "calibration": None if calibration is None else {
            "bins": rules.bins,
            "count": calibration.count.tolist(),
            "accuracy": [_or_none(value) for value in calibration.accuracy.tolist()],
            "confidence": [_or_none(value) for value in calibration.confidence.tolist()],
        },
        "most_confused": [asdict(pair) for pair in most_confused(scores.results)],
    }  # fmt: skip


def write_per_class(run: RunDirectory, scores: Mapping[str, SetScores]) -> None:
    """`per_class.csv`: a row for each set and class."""
    several = any(each.multi_label for each in scores.values())
    columns = [*COLUMNS, *(["average_precision"] if several else [])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", "class", *columns])
    for name, each in scores.items():
        for row in each.per_class:
            writer.writerow([name, row.name, *(getattr(row, column) for column in columns)])
    write_atomic(run.path / "per_class.csv", text.getvalue())


def write_predictions(
    run: RunDirectory,
    scores: Mapping[str, SetScores],
    name_of: Mapping[str, NameOf],
    probabilities: bool,
    parquet: bool,
) -> None:
    """`predictions.csv` or `.parquet`: a row a sample, in the order of the data."""
    classes = next(iter(scores.values())).classes
    columns = ["set", "index", "name", "label", "prediction", "confidence", "loss"]
    columns += [f"p({name})" for name in classes] if probabilities else []
    rows = (row for name, each in scores.items() for row in _rows(name, each, name_of[name], probabilities))
    write_table(run.path / "predictions", columns, rows, parquet)


def write_table(path: Path, columns: list[str], rows: Iterable[Sequence[Any]], parquet: bool) -> None:
    """Rows as `path` with the ending `.csv` or `.parquet`."""
    if parquet:
        _write_parquet(path.with_suffix(".parquet"), columns, rows)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomic(path.with_suffix(".csv"), text.getvalue())


def draw_all(
    run: RunDirectory, name: str, scores: SetScores, image_of: ImageOf, name_of: NameOf, worst: int
) -> list[tuple[str, Path]]:
    """The pictures of a set, as captions and files."""
    drawings: list[tuple[str, str, Callable[[Path], bool]]] = [
        ("confusion", "rows are the true classes, columns the predicted ones",
         lambda path: draw_confusion(scores.results, path)),
        ("reliability", "how often it was right, by how sure it was",
         lambda path: scores.calibration is not None and draw_reliability(scores.calibration, path)),
        ("mistakes", "where it was surest and wrong: look at the labels too",
         lambda path: draw_mistakes(scores.results, image_of, path, worst, name_of)),
    ]  # fmt: skip
    made = []
    for kind, caption, draw in drawings:
        path = run.plots / f"{file_name(name)}_{kind}.png"
        if draw(path):
            made.append((f"{name}: {caption}", path))
    return made


def write_report(
    run: RunDirectory,
    numbers: Mapping[str, Any],
    scores: Mapping[str, SetScores],
    pictures: Sequence[tuple[str, Path]],
    recordings: Sequence[Recording],
    config: str,
) -> None:
    """`report.html`."""
    tables = []
    for name, each in scores.items():
        rows = [(metric, *cells(metric, estimate)) for metric, estimate in each.metrics.items()]
        tables.append(Table(f"{name}: {each.samples:,} samples", ("metric", "value", "95% interval"), rows))
        tables.append(class_table(f"{name}: classes", each.per_class))
        tables.append(confused_table(most_confused(each.results), f"{name}: most often confused"))
        unread = [(failure.name, failure.reason) for failure in each.said.failures]
        tables.append(Table(f"{name}: left out, for they cannot be read", ("sample", "reason"), unread))
    first = [(f"{name} {metric}", shown(metric, each.metrics[metric]).partition(" ")[0])
             for name, each in scores.items() for metric in list(each.metrics)[:2]]  # fmt: skip
    facts = {key: value for key, value in numbers.items() if key not in ("sets", "command", "classes")}
    page = build_report(
        title=run.path.parent.name,
        status="finished",
        under=f"evaluation of {numbers['checkpoint']['path']} · {numbers['ended'][:16].replace('T', ' ')} · {run.path}",
        tiles=[*first, ("samples", f"{sum(each.samples for each in scores.values()):,}")],
        pictures=pictures,
        tables=tables,
        config=config,
        command=numbers["command"],
        facts=facts,
        recordings=recordings,
    )
    write_atomic(run.report, page)


def write_metrics(run: RunDirectory, numbers: Mapping[str, Any]) -> None:
    """`metrics.json`."""
    write_atomic(run.path / "metrics.json", json.dumps(numbers, indent=2, allow_nan=False) + "\n")


def lines(name: str, scores: SetScores) -> list[tuple[str, str]]:
    """What is printed of a set at the end, as names and texts."""
    intervals = f", 95% intervals from {scores.rules.resamples:,} resamples" if scores.rules.resamples else ""
    found = [(name, f"{scores.samples:,} samples{intervals}")]
    found += [(f"  {metric}", shown(metric, estimate)) for metric, estimate in scores.metrics.items()]
    if scores.absent:
        more = f", ... ({len(scores.absent)} in all)" if len(scores.absent) > _LABELS_TOLD else ""
        found.append(("  without samples", ", ".join(scores.absent[:_LABELS_TOLD]) + more))
    if scores.said.failures:
        found.append(("  left out", f"{len(scores.said.failures):,} that cannot be read; metrics.json names them"))
    pairs = most_confused(scores.results, 3)
    if pairs:
        found.append(
            ("  most confused", ", ".join(f"{pair.true} as {pair.predicted} ({pair.count})" for pair in pairs))
        )
    return found


def _rows(name: str, scores: SetScores, name_of: NameOf, probabilities: bool) -> Iterator[list[Any]]:
    for row, prediction in enumerate(scores.results.predictions()):
        told = [prediction.true, prediction.predicted, prediction.confidence, prediction.loss]
        every = scores.probabilities[row].tolist() if probabilities else []
        yield [name, prediction.index, name_of(prediction.index), *told, *every]


def _write_parquet(path: Path, columns: list[str], rows: Iterable[Sequence[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    turned = list(zip(*rows, strict=True))
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table([list(column) for column in turned], names=columns), buffer)
    write_atomic(path, buffer.getvalue())


def need_parquet() -> None:
    """Raises UserError where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise UserError(
            "predictions=parquet needs pyarrow, which is not installed: pip install 'triptych[parquet]', or take "
            "predictions=csv"
        )


def class_table(title: str, rows: Sequence[ClassScore]) -> Table:
    """The classes as a table of the page."""
    columns = ["precision", "recall", "f1"]
    if any(row.average_precision is not None for row in rows):
        columns.append("average_precision")
    texts = [
        (row.name, f"{row.support:,}", f"{row.predicted:,}", *(_percent(getattr(row, column)) for column in columns))
        for row in rows
    ]
    return Table(title, ("class", "samples", "predicted", *(name.replace("_", " ") for name in columns)), texts)


def cells(metric: str, estimate: Estimate) -> tuple[str, str]:
    """A metric's value and its interval."""
    value, _, interval = shown(metric, estimate).partition(" ")
    return value, interval.strip("()")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def finite(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Numbers with None for those that are not finite, which JSON has no word for."""
    return {key: _or_none(value) for key, value in numbers.items()}


def _or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
