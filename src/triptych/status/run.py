"""`triptych status`: prints how a run fares."""

import json
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig
from rich.text import Text

from triptych.callbacks import words
from triptych.rundir.terminal import console
from triptych.rundir.vitals import Vitals
from triptych.status.read import Process, Report, read_report

_STYLES = {"running": "green", "finished": "green", "not begun": "yellow", "silent": "yellow"}
COLUMNS = ("rank", "host", "phase", "step", "samples/s", "s/step", "data", "waits", "memory", "MFU", "told")
_SHOWN = 16  # processes; of more, those that are remarkable and the first


def status(config: DictConfig) -> int:
    """Prints the report of the run that `config` (the schema's `Status`) names, or its JSON; the exit code.

    Raises:
        UserError: there is no such run directory.
    """
    report = read_report(Path(config.run))
    if config.json:
        print(json.dumps(asdict(report), indent=2, default=str, ensure_ascii=False))
    else:
        _show(report)
    return 0


def _show(report: Report) -> None:
    screen = console()
    for name, text in lines(report):
        screen.print(Text.assemble((f"{name:<15}", "bold"), text))
    if report.processes:
        for text in processes(report.processes):
            screen.print(text)


def lines(report: Report) -> list[tuple[str, Text]]:
    """Names and texts, one below the other."""
    state = Text(report.state, style=_STYLES.get(report.state, "red"))
    found = [("run directory", Text(str(report.run))), ("state", state)]
    if report.reason:
        found.append(("reason", Text(report.reason)))
    done = f"{report.step:,}" + (f" of {report.total:,} ({report.step / report.total:.0%})" if report.total else "")
    epoch = "" if report.epoch is None else f"  epoch {report.epoch:.2f}"
    left = "" if report.remaining is None else f"  about {words.duration(report.remaining)} left"
    found.append(("step", Text(done + epoch + left)))
    training = [name for name in report.metrics if "/" not in name or name.startswith("train/")]
    for title, names in (("training", training), ("validation", [n for n in report.metrics if n not in training])):
        if names:
            found.append((title, Text("  ".join(f"{name} {words.value(report.metrics[name])}" for name in names))))
    if report.checkpoint is None:
        found.append(("checkpoint", Text("none yet")))
    else:
        name, step, age = report.checkpoint
        behind = f", {report.step - step:,} steps ago" if report.step > step else ""
        found.append(("checkpoint", Text(f"{name}, saved {words.duration(age)} ago{behind}")))
    return found


def processes(found: list[Process]) -> list[Text]:
    """A row for each process below a header; of very many, for the first and the remarkable ones. Rows may be wider
    than a terminal, which then breaks them: nothing is left out.
    """
    shown = found
    if len(found) > _SHOWN:
        odd = {each.vitals.rank for each in found if each.late or each.silent}
        few = odd | {each.vitals.rank for each in found[: max(1, _SHOWN - len(odd))]}
        shown = [each for each in found if each.vitals.rank in few]
    rows = [COLUMNS, *(_cells(each.vitals, each.age) for each in shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [Text("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))) for row in rows]
    texts[0].stylize("bold")
    for text, each in zip(texts[1:], shown, strict=True):
        if each.late or each.silent:
            text.append("  late" if each.late else "  silent", "yellow" if each.late else "red")
    if len(found) > len(shown):
        texts.append(Text(f"... and {len(found) - len(shown)} more, none of them late or silent"))
    return texts


def _cells(vitals: Vitals, age: float) -> tuple[str, ...]:
    return (
        str(vitals.rank), vitals.host, vitals.phase, f"{vitals.step:,}",
        "" if vitals.samples_per_second is None else words.rate(vitals.samples_per_second),
        "" if vitals.seconds_per_step is None else f"{vitals.seconds_per_step:.3g}",
        _share(vitals.data_share), _share(vitals.wait_share),
        "" if vitals.memory is None else f"{words.size(vitals.memory)}B", _share(vitals.mfu),
        f"{words.duration(age)} ago",
    )  # fmt: skip


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
