"""All events in order, each done once."""

import json
import os
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from . import code, damage, disks, kills, mounts, power, ranks, resize, retention, secrets, signals, slow, workers
from .children import adopt_orphans
from .fault import SECRET, Event
from .runner import Campaign
from .toy import make_pictures

KINDS = (kills, power, disks, damage, signals, ranks, workers, retention, mounts, resize, slow, secrets, code)

SHORT = (
    "kill-one-0-fsync-3", "kill-one-0-rename-1", "power-one-replace-1", "eio-one-0-fsync-4", "full-one-30000",
    "damage-one-model.safetensors-bit-flipped", "SIGTERM-one-job-0.03", "SIGUSR1-one-job-0.03", "worker-one-killed",
    "lying-disk-one-7", "secret-one-mistake", "code-one-configured",
)  # fmt: skip
"""A dozen events of most kinds, for a look of a minute."""


def events() -> Iterator[Event]:
    """Kinds take turns, so that a campaign that is stopped has done some of each."""
    for row in zip_longest(*(kind.events() for kind in KINDS)):
        yield from (event for event in row if event is not None)


def run(results: Path, folder: Path, short: bool, only: str, part: str) -> int:
    """Does the events that `results` lacks; exit code 1 where something was lost or wrong."""
    adopt_orphans()
    os.environ["HF_TOKEN"] = SECRET
    campaign = Campaign(folder, make_pictures(folder / "pictures"))
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {line["event"] for line in lines}
    bad = 0
    this, parts = map(int, part.split("/"))
    for number, event in enumerate(event for event in events() if not short or event.name in SHORT):
        if event.name in done or only not in event.name or number % parts != this - 1:
            continue
        line = campaign.perform(event)
        with open(results, "a") as file:
            print(json.dumps(line), file=file)
        bad += is_bad(line)
        print(_told(line), flush=True)
    print(f"{bad} event(s) ended badly", file=sys.stderr)
    return int(bad > 0)


def is_bad(line: dict) -> bool:
    """Whether something was lost, or not as it must be."""
    return bool(line.get("lost") or line.get("unreadable") or line.get("older") or line.get("differs")
                or line.get("wrong"))  # fmt: skip


def _told(line: dict) -> str:
    if "not_here" in line:
        state = f"not here: {line['not_here']}"
    elif line.get("missed"):
        state = f"no such moment (exit code {line['code']})"
    else:
        state = "BAD " + json.dumps(line) if is_bad(line) else f"ok, exit code {line['code']}"
    return f"{line['event']} {line['seconds']:.1f} s: {state}"
