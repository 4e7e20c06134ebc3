"""Code planted where a resume reads: a pickle for tensors, a class to build, an index that leads out."""

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

from .fault import Event, Scene, die_saved


def events() -> Iterator[Event]:
    """It must not run, and the run goes on once what was there is put back."""
    for subject, plants in (("one", (_pickled, _configured, _linked)), ("sharded", (_pickled, _pointed))):
        for plant in plants:
            yield Event(
                name=f"code-{subject}-{plant.__name__.strip('_')}",
                invariant=11 if plant in (_linked, _pointed) else 10,
                injection="planted code" if plant in (_pickled, _configured) else "a path that leads out",
                subject=subject, where=(plant.__doc__ or "").rstrip("."), strike=die_saved, step=7, mend=plant,
                refuses="error: ", repair=_put_back,
            )  # fmt: skip


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.marker),))


def _last(scene: Scene) -> Path:
    assert scene.run is not None
    return (scene.run / "checkpoints" / "last").resolve()


def _replace(scene: Scene, file: Path, content: bytes) -> None:
    """Keeps what was there, and makes the manifest agree where the file is one of a checkpoint."""
    from triptych.checkpoints.files import write_file
    from triptych.checkpoints.manifest import MANIFEST, manifest_text, read_manifest

    kept = scene.place / "kept"
    kept.mkdir()
    manifest = file.parent / MANIFEST
    for each in (file, manifest):
        if each.exists():
            (kept / each.name).write_bytes(each.read_bytes())
    (kept / "folder").write_text(str(file.parent))
    old = read_manifest(file.parent) if manifest.exists() else None
    file.unlink()
    written = write_file(file, [content])
    if old is not None:
        manifest.write_text(manifest_text({**old.files, file.name: written}, old.facts))


def _pickled(scene: Scene) -> None:
    """A pickle in the place of the model's tensors."""
    file = sorted(_last(scene).glob("model*.safetensors"))[0]
    _replace(scene, file, pickle.dumps(_Runs(scene.place / "marker")))


def _configured(scene: Scene) -> None:
    """A class to build that is none of ours, in config.yaml."""
    assert scene.run is not None
    config = scene.run / "config.yaml"
    text = config.read_text().replace("triptych.models.classifier.Classifier", "os.mkdir", 1)
    assert "os.mkdir" in text
    _replace(scene, config, text.encode())


def _linked(scene: Scene) -> None:
    """A file of the checkpoint is a link out of it."""
    file = _last(scene) / "model.safetensors"
    _replace(scene, file, file.read_bytes())
    outside = scene.place / "model.safetensors"
    file.rename(outside)
    file.symlink_to(outside)


def _pointed(scene: Scene) -> None:
    """An index of shards that leads out."""
    file = _last(scene) / "shards.json"
    index = json.loads(file.read_text())
    entry = next(iter(index["model.safetensors"].values()))
    entry["boxes"][0]["file"] = "../../model.safetensors"
    _replace(scene, file, json.dumps(index).encode())


def _put_back(scene: Scene) -> None:
    assert not (scene.place / "marker").exists(), "planted code has run"
    kept = scene.place / "kept"
    folder = Path((kept / "folder").read_text())
    for each in kept.iterdir():
        if each.name != "folder":
            (folder / each.name).unlink()
            (folder / each.name).write_bytes(each.read_bytes())
