"""What a check of data leaves: lines on the terminal, `doctor.json` for programs, and a page for people."""

import json
from dataclasses import dataclass

from rich.text import Text

from triptych.analysis import machine
from triptych.analysis.report import Table, build_report
from triptych.doctor.balance import counts
from triptych.doctor.crowd import Split
from triptych.doctor.findings import SEVERITIES, Finding, count_of
from triptych.doctor.pictures import draw_counts, draw_samples, draw_sizes
from triptych.rundir import RunDirectory, console, write_atomic

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        name: of the check.
        splits: that were looked at.
        findings: the gravest first.
        seconds: that it took.
    """

    name: str
    splits: list[Split]
    findings: list[Finding]
    seconds: float


def show(diagnosis: Diagnosis, run: RunDirectory) -> None:
    """The findings on the terminal, in colours; plain lines where it is none."""
    screen = console()
    splits, findings = diagnosis.splits, diagnosis.findings
    for split in splits:
        present = sum(count > 0 for count in counts(split).values())
        screen.print(Text(f"{split.name}: {len(split.seen):,} images of {present} classes"))
    for each in findings:
        screen.print(Text.assemble((f"{each.severity:<8}", _COLOURS[each.severity]), f"{each.count:>6,}  {each.text}"))
        for name in each.examples:
            screen.print(Text(f"                  {name}", style="dim"))
        if each.count > len(each.examples) and len(each.cases) > len(each.examples):
            screen.print(Text(f"                  and {len(each.cases) - len(each.examples):,} more", style="dim"))
        screen.print(Text(f"                -> {each.advice}"))
    screen.print(Text(verdict(findings), style="bold"))
    screen.print(Text(f"report     {run.report}"))
    screen.print(Text(f"all cases  {run.path / 'doctor.json'}"))


def verdict(findings: list[Finding]) -> str:
    """The findings counted, in words."""
    found = [(count_of(findings, severity), severity) for severity in SEVERITIES]
    told = ", ".join(f"{count} {severity}{'s' if count > 1 else ''}" for count, severity in found if count)
    return told or "nothing found"


def write(diagnosis: Diagnosis, run: RunDirectory, config: str, command: str) -> None:
    """`doctor.json`, the pictures and `report.html` in the run directory."""
    splits, findings = diagnosis.splits, diagnosis.findings
    facts = {
        "name": diagnosis.name,
        "command": command,
        "seconds": round(diagnosis.seconds, 3),
        "splits": {split.name: {"images": len(split.seen), "classes": counts(split)} for split in splits},
        "counts": {severity: count_of(findings, severity) for severity in SEVERITIES},
        "findings": [
            {"kind": each.kind, "severity": each.severity, "count": each.count, "text": each.text,
             "advice": each.advice, "cases": list(each.cases)}
            for each in findings
        ],
    }  # fmt: skip
    write_atomic(run.path / "doctor.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    pictures = []
    draw_counts(splits, run.plots / "classes.png")
    pictures.append(("number of images of each class", run.plots / "classes.png"))
    if draw_sizes(splits, run.plots / "sizes.png"):
        pictures.append(("sizes of all images", run.plots / "sizes.png"))
    for split in splits:
        if draw_samples(split, run.plots / f"samples_{split.name}.png"):
            pictures.append((f"images of the split {split.name}", run.plots / f"samples_{split.name}.png"))
    grave = count_of(findings, "error") + count_of(findings, "warning")
    page = build_report(
        title=f"data: {diagnosis.name}",
        status=verdict(findings) if grave else "finished",
        under=f"no errors, no warnings, {len(findings)} notes" if not grave else str(run.path),
        tiles=[
            *((f"images, {split.name}", f"{len(split.seen):,}") for split in splits),
            ("classes", f"{len(splits[0].source.classes):,}"),
            *((f"{severity}s", f"{count_of(findings, severity)}") for severity in SEVERITIES),
        ],
        pictures=pictures,
        tables=[],
        config=config,
        command=command,
        facts={"seconds": diagnosis.seconds, "versions": machine.versions()},
        first=[_table(findings)],
    )
    write_atomic(run.report, page)


def _table(findings: list[Finding]) -> Table:
    rows = []
    for each in findings:
        more = len(each.cases) - len(each.examples)
        examples = "; ".join(each.examples) + (f"; and {more:,} more" if more else "")
        rows.append((each.severity, f"{each.count:,}", each.text, examples, each.advice))
    return Table("Findings", ("", "times", "what", "such as", "way out"), rows)
