"""What the doctor has to say: one finding a kind of fault, with its weight, its number, examples and the way out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The gravest first: training stops or learns something wrong; it may suffer; nothing is wrong, but good to know."""

EXAMPLES = 5
"""Examples that a finding names."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        kind: a word for programs, such as `corrupt_image`.
        severity: `error`, `warning` or `note`.
        text: what it is, in a line, and why it matters.
        count: how often.
        cases: each by its name.
        advice: the way out.
    """

    kind: str
    severity: Severity
    text: str
    count: int
    cases: tuple[str, ...]
    advice: str

    @property
    def examples(self) -> tuple[str, ...]:
        """The first few cases."""
        return self.cases[:EXAMPLES]


def finding(kind: str, severity: Severity, text: str, found: Sequence[str], advice: str) -> list[Finding]:
    """A finding of `found`, which names each case; none where nothing was found."""
    if not found:
        return []
    return [Finding(kind, severity, text, len(found), tuple(found), advice)]


def by_weight(findings: Sequence[Finding]) -> list[Finding]:
    """The gravest first; those of one weight in the order in which they were found."""
    return sorted(findings, key=lambda each: SEVERITIES.index(each.severity))


def count_of(findings: Sequence[Finding], severity: Severity) -> int:
    """Findings of one weight."""
    return sum(each.severity == severity for each in findings)
