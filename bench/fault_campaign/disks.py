"""Disks that fail, fill up, turn read-only or vanish under a run that goes on."""

from collections.abc import Iterator
from functools import partial

from .fault import MESSAGE, Event, Scene
from .kills import trace
from .storage import cut_power, fill, mount_again, turn_read_only


def events() -> Iterator[Event]:
    """Each must end the run with a message, or be of no consequence."""
    for subject, rank, most in (("one", 0, 9), ("two", 0, 3), ("sharded", 0, 4), ("sharded", 1, 3)):
        for number in range(1, most + 1):
            yield Event(
                name=f"eio-{subject}-{rank}-fsync-{number}", invariant=3, injection="EIO at fsync", subject=subject,
                where=f"fsync {number} of rank {rank}", strike=partial(refuse, "fsync", "EIO", number),
                step=3 + 2 * (number % 5), rank=rank, codes=(MESSAGE,),
            )  # fmt: skip
    for call, error, most in (("rename", "EIO", 3), ("symlink", "EIO", 1), ("mkdir", "ENOSPC", 1),
                              ("write", "ENOSPC", 5)):  # fmt: skip
        for number in range(1, most + 1):
            yield Event(
                name=f"{error.lower()}-one-{call}-{number}", invariant=3, injection=f"{error} at {call}", subject="one",
                where=f"{call} {number}", strike=partial(refuse, call, error, number), step=5, codes=(MESSAGE, 0),
            )  # fmt: skip
    for subject in ("one", "two", "sharded"):
        for leave in (0, 30_000, 200_000) if subject == "one" else (0, 100_000):
            yield Event(
                name=f"full-{subject}-{leave}", invariant=3, injection="full disk", subject=subject,
                where=f"{leave} bytes are free", strike=partial(_fill, leave), step=7, codes=(MESSAGE,),
                says="The last checkpoint is whole", file_system="tmpfs", mend=_make_room,
            )  # fmt: skip
        yield Event(
            name=f"read-only-{subject}", invariant=3, injection="disk turns read-only", subject=subject,
            where="between two saves", strike=_freeze, step=7, codes=(MESSAGE,), says="Read-only file system",
            file_system="ext4", mend=_again,
        )  # fmt: skip
        yield Event(
            name=f"gone-{subject}", invariant=3, injection="disk is gone", subject=subject, where="between two saves",
            strike=_lose, step=7, codes=(MESSAGE,), says="Input/output error", file_system="ext4",
        )  # fmt: skip


def refuse(call: str, error: str, number: int, scene: Scene) -> None:
    """The n-th such call of a thread of this process fails."""
    trace(scene, call, f"error={error}", number)


def _fill(leave: int, scene: Scene) -> None:
    fill(scene.output.parent, leave)


def _make_room(scene: Scene) -> None:
    (scene.output.parent / "ballast").unlink(missing_ok=True)


def _freeze(scene: Scene) -> None:
    turn_read_only(scene.output.parent)


def _lose(scene: Scene) -> None:
    (scene.place / "cut").touch()
    cut_power(scene.output.parent)


def _again(scene: Scene) -> None:
    mount_again("ext4", scene.place)
