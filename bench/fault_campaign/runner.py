"""Does one event: trains under a fault, looks at what is left, goes on to the end, and compares the end."""

import csv
import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from triptych.checkpoints.find import find_checkpoint, read_link
from triptych.checkpoints.format import read_checkpoint
from triptych.errors import UserError

from .children import begin, orphans, wait
from .fault import MESSAGE, SECRET, Event, NotHere, Scene
from .storage import mount_again, mounted
from .toy import SUBJECTS, WORDS, Subject

PATIENCE = 180.0
"""Seconds for a run that goes on after its fault."""


@dataclass(frozen=True)
class Undisturbed:
    """What a run of a subject comes to when nothing is done to it."""

    tensors: dict[str, str]
    losses: list[str]
    samples: dict[int, list[int]]


class Campaign:
    """Does events.

    Args:
        folder: where runs are made, and taken away again.
        pictures: the data.
    """

    def __init__(self, folder: Path, pictures: Path) -> None:
        self.folder, self.pictures = folder, pictures
        self._undisturbed: dict[str, Undisturbed] = {}

    def perform(self, event: Event) -> dict[str, Any]:
        """What came of it, as a line of the results."""
        began = time.time()
        line: dict[str, Any] = {
            "event": event.name, "invariant": event.invariant, "injection": event.injection, "subject": event.subject,
            "where": event.where, "time": round(began),
        }  # fmt: skip
        try:
            with self._scene(event) as scene:
                line |= self._try(event, scene)
        except NotHere as error:
            line |= {"not_here": str(error)}
        return line | {"seconds": round(time.time() - began, 2)}

    def _try(self, event: Event, scene: Scene) -> dict[str, Any]:
        subject = SUBJECTS[event.subject]
        watch = _LastWatch(scene)
        words = (*self._words(subject, scene), *event.words)
        code, took = wait(begin(words, event, scene, "first"), event.within, watch.look)
        left = orphans()
        if (scene.place / "not_here").exists():
            raise NotHere((scene.place / "not_here").read_text())
        found: dict[str, Any] = {
            "code": code, "ended_after": round(took, 2), "message": _message(scene, "first"), "hit": _hit(scene),
        }  # fmt: skip
        if not (scene.place / "struck").exists() or _missed(scene):
            return {"missed": True, **found}
        if (scene.place / "cut").exists():
            mount_again(event.file_system, scene.place)
        wrong = self._wrong(event, scene, code) + [f"left {each}" for each in left]
        acknowledged, kept = acknowledged_step(scene), kept_step(scene)
        found |= {"acknowledged": acknowledged, "last": kept}
        unreadable = watch.unreadable + bool(acknowledged and kept is None and event.mend is None)
        ended, told = self._go_on(event, scene, code)
        found |= {"unreadable": unreadable, "looks": watch.looks, "lost": not ended,
                  "older": bool(kept is not None and kept < acknowledged)}  # fmt: skip
        if not ended:
            found["second_message"] = _message(scene, "second")
        if told:
            wrong.append(told)
        if ended and event.compare:
            found["differs"] = self._compare(event, scene)
        if event.lasting is not None and (problem := event.lasting(scene)):
            wrong.append(problem)
        if places := _secret_places(scene):
            wrong.append(f"the secret is in {places}")
        return found | {"wrong": wrong}

    def _wrong(self, event: Event, scene: Scene, code: int | None) -> list[str]:
        """What is not as the event says, when the run under the fault has ended."""
        wrong = []
        if code is None:
            wrong.append(f"had not ended after {event.within:g} s")
        elif event.codes and code not in event.codes:
            wrong.append(f"exit code {code}, not {' or '.join(map(str, event.codes))}")
        printed = (scene.place / "printed_first").read_text(errors="replace")
        if event.says not in " ".join(printed.split()):
            wrong.append(f"does not say {event.says!r}")
        if code == MESSAGE and "Traceback" in printed:
            wrong.append("shows a traceback")
        if event.check is not None and (problem := event.check(scene)):
            wrong.append(problem)
        return wrong

    def _go_on(self, event: Event, scene: Scene, code: int | None) -> tuple[bool, str]:
        """Whether the run came to its end, and what was wrong on the way."""
        if code == 0:
            return True, ""
        if event.mend is not None:
            event.mend(scene)
        run, wrong = scene.run, ""
        subject = SUBJECTS[event.resumes or event.subject]
        trainer = subject.words or (("trainer=cpu",) if event.resumes else ())
        if run is not None and (acknowledged_step(scene) or kept_step(scene)):
            words = [f"resume={run}", *trainer]
            if event.refuses:
                code, _ = wait(begin(words, None, scene, "refused"), PATIENCE, lambda: None)
                told = " ".join((scene.place / "printed_refused").read_text(errors="replace").split())
                if code != MESSAGE or event.refuses not in told or "Traceback" in told:
                    wrong = f"a resume does not refuse with {event.refuses!r} but with exit code {code}: {told[-300:]}"
                if event.repair is not None:
                    event.repair(scene)
                elif "whole checkpoint is " in told:
                    words[0] = f"resume={told.partition('whole checkpoint is ')[2].partition(':')[0].strip()}"
        elif acknowledged_step(scene):
            return False, "the run directory is gone"
        else:
            shutil.rmtree(scene.output / "train", ignore_errors=True)
            for path in scene.place.glob("samples_*"):
                path.unlink()
            words = [*self._words(SUBJECTS[event.subject], scene), *event.words]
        code, _ = wait(begin(words, None, scene, "second"), PATIENCE, lambda: None)
        orphans()
        return code == 0, wrong

    def _compare(self, event: Event, scene: Scene) -> list[str]:
        """What is not as in the undisturbed run."""
        expected = self.undisturbed(event.subject)
        found = _outcome(scene)
        differs = []
        if found.samples != {step: expected.samples[step] for step in found.samples} or not found.samples:
            differs.append("samples")
        if event.resumes is None:
            differs += [name for name in expected.tensors if found.tensors.get(name) != expected.tensors[name]]
            if found.losses != expected.losses:
                pairs = enumerate(zip_longest(expected.losses, found.losses), start=1)
                differs.append("losses: " + next(f"row {row} is {b}, not {a}" for row, (a, b) in pairs if a != b))
        return differs

    def undisturbed(self, name: str) -> Undisturbed:
        """Trained once and kept."""
        if name not in self._undisturbed:
            place = self.folder / f"undisturbed_{name}"
            scene = Scene(place, place / "out", self.pictures)
            place.mkdir(parents=True)
            code, _ = wait(begin(self._words(SUBJECTS[name], scene), None, scene, "first"), PATIENCE, lambda: None)
            if code != 0:
                raise RuntimeError(f"the undisturbed run of {name} failed:\n{(place / 'printed_first').read_text()}")
            self._undisturbed[name] = _outcome(scene)
            orphans()
        return self._undisturbed[name]

    @contextmanager
    def _scene(self, event: Event) -> Iterator[Scene]:
        place = self.folder / "event"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        pictures = self.pictures
        if event.own_pictures:
            pictures = Path(shutil.copytree(pictures, place / "pictures"))
        try:
            if event.file_system:
                with mounted(event.file_system, place) as mount:
                    yield Scene(place, mount / "out", pictures)
            else:
                yield Scene(place, place / "out", pictures)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _words(self, subject: Subject, scene: Scene) -> list[str]:
        return [*WORDS, *subject.words, f"data.root={scene.pictures}", f"output={scene.output}"]


class _LastWatch:
    """Reads `last` by the product's own loader, over and over, while a run is under way."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.looks = self.unreadable = 0

    def look(self) -> None:
        run = self._scene.run
        if run is None or (self._scene.place / "cut").exists() or not (run / "checkpoints" / "last").is_symlink():
            return
        self.looks += 1
        for _ in range(3):  # two saves may have gone by between the link and the files that it led to
            try:
                read_checkpoint(find_checkpoint(run))
                return
            except (UserError, OSError):
                continue
        self.unreadable += not (self._scene.place / "cut").exists()


def kept_step(scene: Scene) -> int | None:
    """The step that a resume would go on from; None where there is nothing that can be read."""
    try:
        assert scene.run is not None
        return read_checkpoint(find_checkpoint(scene.run))["global_step"]
    except (UserError, OSError, AssertionError):
        return None


def acknowledged_step(scene: Scene) -> int:
    """The newest step that the run said it had saved, 0 for none."""
    path = scene.place / "acknowledged"
    names = path.read_text().split() if path.exists() else []
    return max((int(name.split("_")[1].split(".")[0]) for name in names), default=0)


def _outcome(scene: Scene) -> Undisturbed:
    run = scene.run
    assert run is not None
    last = read_link(run / "checkpoints" / "last")
    assert last is not None
    tensors = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in last.glob("*.safetensors")}
    with open(run / "metrics.csv", newline="") as file:
        losses = [row["train/loss"] + "/" + row["val/loss"] for row in csv.DictReader(file)]
    steps: dict[int, dict[int, list[int]]] = {}
    for part in ("first", "second"):
        for path in sorted(scene.place.glob(f"samples_{part}_*")):
            seen: dict[int, list[int]] = {}
            for line in path.read_text().splitlines():
                step, *samples = map(int, line.split())
                seen[step] = samples
            for step, samples in seen.items():
                places = steps.setdefault(step, {})
                if part == "second" and int(path.name.rpartition("_")[2]) == 0:
                    places.clear()
                places[int(path.name.rpartition("_")[2])] = samples
    joined = {step: [s for rank in sorted(each) for s in each[rank]] for step, each in sorted(steps.items())}
    return Undisturbed(tensors, losses, joined)


def _secret_places(scene: Scene) -> list[str]:
    """Where the planted secret has turned up: a file of the run, or what the run printed."""
    files = [*scene.output.rglob("*"), *scene.place.glob("printed_*")]
    found = [file for file in files if file.is_file() and SECRET.encode() in file.read_bytes()]
    return [file.name for file in found]


def _message(scene: Scene, part: str) -> str:
    """The last words of a run."""
    path = scene.place / f"printed_{part}"
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    told = [line for line in lines if line.startswith(("error:", "warning: stopped")) or "Error" in line]
    return (told or lines or [""])[-1][:400].replace(str(scene.place), "")


def _hit(scene: Scene) -> str:
    """The system call that was met, as strace wrote it down."""
    path = scene.place / "trace"
    if not path.exists():
        return ""
    lines = [line for line in path.read_text(errors="replace").splitlines() if "(" in line and "+++" not in line]
    marked = [line for line in lines if "INJECTED" in line]
    text = (marked or lines or [""])[-1].replace(str(scene.place), "")
    return text.partition(" ")[2].strip()[:200]


def _missed(scene: Scene) -> bool:
    """Whether strace waited for a call that never came."""
    path = scene.place / "trace"
    if not path.exists():
        return False
    text = path.read_text(errors="replace")
    return not any(mark in text for mark in ("INJECTED", "DELAYED", "+++ killed by SIGKILL"))
