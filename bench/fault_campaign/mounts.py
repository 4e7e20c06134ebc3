"""A run directory on another file system than the one where temporary files go."""

from collections.abc import Iterator
from functools import partial

from .fault import Event
from .kills import at_call


def events() -> Iterator[Event]:
    """SIGKILL at what would tear a save that is moved from one file system to another."""
    for kind in ("tmpfs", "ext4"):
        for subject in ("one", "sharded"):
            for call, numbers in (("fsync", (2, 5, 7)), ("rename", (1, 3)), ("symlink", (1,))):
                for number in numbers if subject == "one" else numbers[:1]:
                    yield Event(
                        name=f"mount-{kind}-{subject}-{call}-{number}", invariant=1,
                        injection="SIGKILL in a save, run on another mount", subject=subject,
                        where=f"{call} {number}, {kind}", strike=partial(at_call, call, number), step=5 + 2 * number,
                        file_system=kind,
                    )  # fmt: skip
