"""A disk so slow that the next save is due before the one before is done."""

from collections.abc import Iterator
from functools import partial

from .fault import Event, Scene
from .kills import trace


def events() -> Iterator[Event]:
    """Saves wait for each other, and are published in order."""
    for subject, rank in (("one", 0), ("two", 0), ("sharded", 0), ("sharded", 1)):
        for milliseconds in (30, 120):
            yield Event(
                name=f"slow-{subject}-{rank}-{milliseconds}", invariant=3, injection="slow disk", subject=subject,
                where=f"each fsync of rank {rank} takes {milliseconds} ms", strike=partial(_slow, milliseconds),
                step=4, rank=rank, codes=(0,), words=("checkpoint.every_steps=1",), check=_in_order, within=150,
            )  # fmt: skip


def _slow(milliseconds: int, scene: Scene) -> None:
    trace(scene, "fsync", f"delay_enter={milliseconds * 1000}", "1+")


def _in_order(scene: Scene) -> str:
    names = (scene.place / "acknowledged").read_text().split()
    return "" if names == sorted(names) and len(names) >= 20 else f"saves were published as {names}"
