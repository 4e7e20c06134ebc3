"""A killed run that goes on in another number of processes, or divided in another way."""

from collections.abc import Iterator

from .fault import Event, die


def events() -> Iterator[Event]:
    """The samples of each step must be the same."""
    for before, after in (("one", "two"), ("two", "one"), ("one", "sharded"), ("sharded", "one"), ("two", "sharded"),
                          ("sharded", "two")):  # fmt: skip
        for step in (5, 12):
            yield Event(
                name=f"resize-{before}-{after}-{step}", invariant=6, injection="SIGKILL, then another number or way",
                subject=before, where=f"{before} to {after} at step {step}", strike=die, step=step, resumes=after,
            )  # fmt: skip
