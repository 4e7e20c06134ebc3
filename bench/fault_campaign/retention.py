"""What goes when a newer save is there: nothing before that one reads back, and nothing outside of the run."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .fault import MESSAGE, Event, Scene, die_saved


def events() -> Iterator[Event]:
    """A disk that writes something else than it was given; links that lead out."""
    for subject in ("one", "sharded"):
        for step in (0, 3, 7, 12):
            yield Event(
                name=f"lying-disk-{subject}-{step}", invariant=4, injection="a save does not read back",
                subject=subject, where=f"after step {step}", strike=_lie, step=step, codes=(MESSAGE,), says="damaged",
                check=partial(_last_is_whole, step),
            )  # fmt: skip
        yield Event(
            name=f"link-out-{subject}", invariant=4, injection="a save is a link out of the run", subject=subject,
            where="an older save", strike=_plant_link, step=5, codes=(0,), lasting=_outside_is_there,
        )  # fmt: skip
        yield Event(
            name=f"other-{subject}", invariant=4, injection="a checkpoint lists saves of others", subject=subject,
            where="state.json", strike=die_saved, step=5, mend=_list_others, lasting=_other_is_there,
        )  # fmt: skip


def _lie(scene: Scene) -> None:
    """From now on, the model's file of a save is not what was written."""
    rename = os.rename

    def lying(source: Any, target: Any) -> None:
        if Path(target).name.startswith("step_"):
            file = next(iter(sorted(Path(source).glob("model*.safetensors"))))
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        rename(source, target)

    os.rename = lying


def _last_is_whole(step: int, scene: Scene) -> str:
    from .runner import kept_step

    return "" if step < 2 or kept_step(scene) else "`last` is damaged"


def _plant_link(scene: Scene) -> None:
    assert scene.run is not None
    (older, *_) = sorted((scene.run / "checkpoints").glob("step_*"))
    outside = scene.place / "outside"
    shutil.copytree(older, outside)
    shutil.rmtree(older)
    older.symlink_to(outside)


def _outside_is_there(scene: Scene) -> str:
    return "" if (scene.place / "outside" / "manifest.json").exists() else "what lies outside was removed"


def _other_is_there(scene: Scene) -> str:
    there = (scene.place / "other" / "step_0000001" / "manifest.json").exists()
    return "" if there else "another run's save was removed"


def _list_others(scene: Scene) -> None:
    """A checkpoint whose own list of saves leads to another run's."""
    from triptych.checkpoints.files import write_file
    from triptych.checkpoints.manifest import MANIFEST, STATE, manifest_text, read_manifest

    assert scene.run is not None
    last = (scene.run / "checkpoints" / "last").resolve()
    other = scene.place / "other"
    shutil.copytree(last, other / "step_0000001")
    manifest = read_manifest(last)
    text = (last / STATE).read_text().replace('"saved": [', '"saved": ["../../../../../other/step_0000001", ')
    (last / STATE).unlink()
    written = write_file(last / STATE, [text.encode()])
    (last / MANIFEST).write_text(manifest_text({**manifest.files, STATE: written}, manifest.facts))
