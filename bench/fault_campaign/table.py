"""The results as a table for a page."""

import json
from pathlib import Path
from statistics import median
from typing import Any

COLUMNS = ("invariant", "injection", "runs of", "events", "lost runs", "unreadable `last`", "not bit-equal",
           "otherwise wrong", "median seconds")  # fmt: skip


def table(results: Path) -> str:
    """One row for each invariant and injection, a row for all, and what was not possible."""
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    done = [line for line in lines if not line.get("missed") and "not_here" not in line]
    rows: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for line in done:
        rows.setdefault((line["invariant"], line["injection"]), []).append(line)
    text = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for (invariant, injection), found in sorted(rows.items()):
        text.append(_row(str(invariant), injection, found))
    if done:
        text.append(_row("all", "", done))
    text += [f"\nnot here: {line['event']}: {line['not_here']}" for line in lines if "not_here" in line]
    missed = sum(bool(line.get("missed")) for line in lines)
    if missed:
        text.append(f"\n{missed} more waited for a call that a save does not make that often, and are not counted.")
    return "\n".join(text)


def _row(invariant: str, injection: str, lines: list[dict[str, Any]]) -> str:
    subjects = sorted({line["subject"] for line in lines}, key=["one", "two", "sharded"].index)
    numbers = [
        len(lines), sum(bool(line.get("lost")) for line in lines),
        sum(bool(line.get("unreadable") or line.get("older")) for line in lines),
        sum(bool(line.get("differs")) for line in lines), sum(bool(line.get("wrong")) for line in lines),
    ]  # fmt: skip
    seconds = median(line.get("ended_after", 0.0) for line in lines)
    return f"| {invariant} | {injection} | {', '.join(subjects)} | {' | '.join(map(str, numbers))} | {seconds:.1f} |"
