"""A dozen faults of the campaign, and that the campaign counts what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.fault_campaign.campaign import SHORT, events, is_bad
from bench.fault_campaign.table import table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="strace, loop devices and /proc are Linux's")
def test_a_dozen_faults_lose_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "bench/faults.py", str(results), "--short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert {line["event"] for line in lines} == set(SHORT)
    assert not [line["event"] for line in lines if line.get("missed")]
    tried = [line for line in lines if "not_here" not in line]
    assert len(tried) >= 6  # without root there are no mounts, and perhaps no strace
    assert all(line["differs"] == [] and not line["lost"] for line in tried)


def test_names_are_unique_and_the_short_version_is_a_part() -> None:
    names = [event.name for event in events()]
    assert len(names) == len(set(names)) > 300
    assert set(SHORT) < set(names)


def test_each_kind_of_harm_is_counted_in_its_own_column(tmp_path: Path) -> None:
    good = {"event": "a", "invariant": 1, "injection": "kill", "subject": "one", "ended_after": 2.0,
            "lost": False, "unreadable": 0, "older": False, "differs": [], "wrong": []}  # fmt: skip
    harms = [{"lost": True}, {"unreadable": 1}, {"older": True}, {"differs": ["losses"]}, {"wrong": ["exit code 1"]}]
    lines = [good, *(good | harm for harm in harms)]
    assert [is_bad(line) for line in lines] == [False, *[True] * len(harms)]
    results = tmp_path / "results.jsonl"
    others = [good | {"missed": True}, {"event": "b", "invariant": 2, "not_here": "no loop devices"}]
    results.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *others]))
    text = table(results)
    assert "| 1 | kill | one | 6 | 1 | 2 | 1 | 1 | 2.0 |" in text
    assert "not here: b: no loop devices" in text
    assert "1 more waited for a call" in text
