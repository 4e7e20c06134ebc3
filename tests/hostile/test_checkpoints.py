"""Checkpoints of strangers: pickles, metadata, states and descriptions that want something else than to be loaded."""

import io
import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import triptych
from triptych.callbacks.saves import Saves
from triptych.checkpoints.find import find_checkpoint
from triptych.checkpoints.format import read_checkpoint
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.checkpoints.rng import rng_state, set_rng_state
from triptych.cli import main
from triptych.errors import UserError

from .corpus import MODEL, Evaluated, Payload, Scene, bounded, checkpoint_of, evil, refused, reseal, weights

CONFIGS: dict[str, dict[str, Any]] = {
    "timm": {"architecture": "vit_tiny_patch16_224", "num_classes": 2},
    "huggingface": {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1},
    "nothing": {},
}


def zipped(path: Path, content: bytes, **more: bytes) -> Path:
    """An archive as torch.save makes them, with a pickle of one's own."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"data.pkl": content, "version": b"3\n", **more}.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)
    return path


def saved(path: Path, content: Any, new: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=new)
    return path


PICKLES: dict[str, Callable[[Path, Scene], Path]] = {
    "a bare pickle": lambda path, scene: (path.write_bytes(evil(scene)) and path) or path,
    "torch.save": lambda path, scene: saved(path, {"state_dict": {"w": torch.ones(2)}, "x": Payload(scene.canary)}),
    "torch.save of old": lambda path, scene: saved(path, {"w": Evaluated(scene.canary)}, new=False),
    "an archive": lambda path, scene: zipped(path, evil(scene)),
    "a TorchScript archive": lambda path, scene: zipped(path, evil(scene), code____torch__=b"import os"),
    "a CLIP's name": lambda path, scene: zipped(path, pickle.dumps(["visual.conv1.weight", Payload(scene.canary)])),
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_pickle_is_not_run(kind: str, name: str, config: str, scene: Scene) -> None:
    folder = scene.here / "from_the_net"
    folder.mkdir()
    if config != "nothing":
        (folder / "config.json").write_text(json.dumps(CONFIGS[config]))
    path = PICKLES[kind](folder / name, scene)
    for given in (path, folder):
        with bounded(), pytest.raises(UserError) as error:
            triptych.load(given)
        refused(error, folder)


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json", "config.json"])
def test_a_pickle_in_our_own_folder_is_not_run(name: str, scene: Scene) -> None:
    folder = reseal(checkpoint_of(scene.here / "step_0000001"), **{name.replace(".", "_"): evil(scene)})
    with bounded(), pytest.raises(UserError) as error:
        read_checkpoint(folder)
    refused(error, name)


@pytest.fixture
def distributed(scene: Scene) -> Path:
    """A folder as torch.distributed.checkpoint writes them."""
    folder = scene.here / "dcp"
    folder.mkdir()
    (folder / ".metadata").write_bytes(evil(scene))
    (folder / "__0_0.distcp").write_bytes(evil(scene))
    return folder


def test_metadata_of_distributed_checkpoints_are_not_opened(distributed: Path) -> None:
    for read in (triptych.load, find_checkpoint, FolderCheckpointIO().load_checkpoint):
        with pytest.raises(UserError) as error:
            read(distributed)
        refused(error, distributed, ".metadata is a pickle, which is never opened", "dcp_to_torch")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["train", "resume=dcp"], ["evaluate", "checkpoint=dcp"], ["predict", "checkpoint=dcp", "input=."],
        ["export", "checkpoint=dcp", "format=timm", "out=out"],
        ["zero_shot", "checkpoint=dcp", "image=x.png", "labels=a"],
        ["finetune", "weights=dcp", "data.root=."], ["attention", "checkpoint=dcp", "image=x.png"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_command_refuses_them(words: list[str], distributed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("error: ")
    assert "dcp" in printed
    assert sorted(path.name for path in distributed.iterdir()) == [".metadata", "__0_0.distcp"]


def deep(depth: int = 5000) -> bytes:
    return b'{"checkpoint": ' + b'{"a": ' * depth + b"1" + b"}" * depth + b', "state_dict": [], "has_config": false}'


STATES: dict[str, Any] = {
    "an unknown kind": {"checkpoint": {"a": {"$": "os.system", "value": "touch canary"}}},
    "objects of numpy": {"checkpoint": {"a": {"$": "array", "dtype": "|O", "shape": [1], "name": "x"}}},
    "a function of torch": {"checkpoint": {"a": {"$": "dtype", "name": "load"}}},
    "a device that is none": {"checkpoint": {"a": {"$": "device", "name": "/etc/passwd"}}},
    "a tensor that is not there": {"checkpoint": {"a": {"$": "tensor", "name": "gone"}}},
    "a set of lists": {"checkpoint": {"a": {"$": "set", "items": [[1]]}}},
    "a size of texts": {"checkpoint": {"a": {"$": "size", "items": ["a"]}}},
    "an endless size": {"checkpoint": {"a": {"$": "size", "items": [10**40]}}},
    "a list": {"checkpoint": [1, 2]},
    "no weights": {"checkpoint": {"state_dict": None}, "state_dict": [["model.gone", True, None]]},
    "entries that are none": {"checkpoint": {"state_dict": None}, "state_dict": 3},
    "nothing": None,
    "deep": deep(),
    "deeper": b"[" * 1_000_000,
    "a number without end": b'{"checkpoint": ' + b"9" * 100_000 + b"}",
}  # fmt: skip


@pytest.mark.parametrize("lie", STATES)
def test_a_state_that_lies_is_told(lie: str, scene: Scene) -> None:
    state = STATES[lie]
    text = state if isinstance(state, bytes) else json.dumps(state).encode()
    folder = reseal(checkpoint_of(scene.here / "step_0000001"), state_json=text)
    with bounded(128, 5), pytest.raises(UserError) as error:
        read_checkpoint(folder)
    refused(error, "state.json")


def nested(depth: int) -> Any:
    tree: Any = 1
    for _ in range(depth):
        tree = [tree]
    return tree


def described(**tower: Any) -> dict[str, Any]:
    return {"model": {**MODEL, "tower": {**MODEL["tower"], **tower}}}


DESCRIPTIONS: dict[str, Any] = {
    "endless layers": described(depth=10**9),
    "endless layers of nothing": described(depth=10**9, dim=0),
    "wide layers": described(dim=2**20),
    "wider than memory": described(dim=2**40),
    "endless positions": described(image_size=2**22),
    "many heads": described(mixer={**MODEL["tower"]["mixer"], "heads": 2**62}),
    "endless classes": {"model": {**MODEL, "num_classes": 10**12}},
    "a layer of torch": {"model": {"_target_": "torch.nn.Linear", "in_features": 2**40, "out_features": 2**20}},
    "code": {"model": {"_target_": "os.system", "_args_": ["touch ../canary"]}},
    "code in a part": described(norm={"_target_": "builtins.exec", "_args_": ["1"]}),
    "a part of a run": described(norm={"_target_": "triptych.callbacks.checkpointing.Checkpointing", "keep": 1}),
    "a file": {"model": {"_target_": "triptych.rundir.files.write_atomic", "path": "../outside/x", "content": "y"}},
    "a writer": {"model": {"_target_": "torch.PyTorchFileWriter", "_args_": ["../outside/x"]}},
    "the environment": described(image_size="${oc.env:TRIPTYCH_TEST_SECRET}"),
    "weights of the net": {"model": {"_target_": "torch.nn.Sequential", "_args_": [
        {"_target_": "triptych.towers.timm.TimmTower", "name": "hf-hub:evil/model", "pretrained": True}]}},
    "a list": [1],
    "a model that is a text": {"model": "os.system"},
    "a function": {"model": {"_target_": "torch.nn.functional.relu", "_partial_": True}},
    "adapters that are none": {"model": MODEL, "adapters": {"_target_": "torch.nn.Linear", "_args_": [1, 1]}},
    "preprocessing that is none": {"model": MODEL, "preprocess": {"image_size": 3, "evil": 1}},
    "deep": nested(60_0),
    "deeper": nested(900),
}  # fmt: skip


@pytest.mark.parametrize("lie", DESCRIPTIONS)
def test_a_description_that_lies_is_told(lie: str, scene: Scene) -> None:
    text = json.dumps(DESCRIPTIONS[lie]).encode()
    folder = reseal(checkpoint_of(scene.here / "step_0000001"), config_json=text)
    with bounded(1024, 20), pytest.raises(UserError) as error:
        triptych.load(folder)
    assert "planted-secret" not in refused(error)


@pytest.mark.parametrize("kind", ["a bomb", "a bomb behind a CLIP's name", "bytearray", "no bytes", "many names"])
def test_an_archive_that_would_fill_the_memory_is_refused(kind: str, scene: Scene) -> None:
    path = scene.here / "model.pt"
    call = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85R."
    wide = {"visual.conv1.weight": torch.zeros(1).expand(2**40)}
    shared = torch.zeros(1 << 18)
    if kind == "a bomb":
        (scene.here / "config.json").write_text(json.dumps(CONFIGS["timm"]))
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
            archive.writestr("archive/data/0", bytes(1 << 28))
        path.write_bytes(made.getvalue())
    elif kind == "a bomb behind a CLIP's name":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"visual.conv1.weight" + bytes(1 << 28))
    elif kind == "bytearray":
        (scene.here / "config.json").write_text(json.dumps(CONFIGS["timm"]))
        zipped(path, call)
    elif kind == "no bytes":
        saved(path, wide)
    else:
        saved(path, {"visual.conv1.weight": shared, **{f"x{number}": shared for number in range(2000)}})
    with bounded(300, 10), pytest.raises(UserError) as error:
        triptych.load(path)
    refused(error, path)


def test_links_of_a_checkpoint_do_not_lead_out(scene: Scene) -> None:
    folder = checkpoint_of(scene.here / "step_0000001")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(scene.outside / "letter.txt")
    with pytest.raises(UserError) as error:
        triptych.load(folder)
    refused(error, "config.json is a link or no regular file")
    store = scene.here / "run" / "checkpoints"
    store.mkdir(parents=True)
    (store / "last").symlink_to("../../../outside/folder")
    with pytest.raises(UserError) as error:
        triptych.load(scene.here / "run")
    refused(error, "it may only point at a step folder beside it")


def test_what_a_checkpoint_lists_as_saves_is_not_removed_elsewhere(scene: Scene) -> None:
    store = scene.here / "checkpoints"
    names = ["../../outside/folder", str(scene.outside / "folder"), "..", ".", "", 3, "step_0000001"]
    for step in (1, 2, 3):
        checkpoint_of(store / f"step_000000{step}")
    saves = Saves(store, keep=1)
    saves.adopt(names, step=3)  # pyright: ignore[reportArgumentType]
    assert saves.names == ["step_0000001"]
    saves.names += ["step_0000002", "step_0000003"]
    saves.publish("step_0000003")
    assert sorted(path.name for path in store.iterdir()) == ["last", "step_0000003"]


@pytest.mark.parametrize("state", [{}, {"python": [1], "numpy": 2, "torch": 3}, {"python": (3, (1,), None)}])
def test_states_of_random_generators_that_are_none_are_told(state: Any) -> None:
    before = rng_state()
    with pytest.raises(UserError) as error:
        set_rng_state(state)
    refused(error, "random generators")
    set_rng_state(before)


@pytest.mark.parametrize("members", ["code/__torch__.py", "data.pkl"])
def test_names_in_an_archive_lead_nowhere(members: str, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    path = scene.here / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside/letter.txt", "overwritten")
        archive.writestr("/" + str(scene.outside / "letter.txt"), "overwritten")
        archive.writestr(f"archive/{members}", pickle.dumps({"visual.conv1.weight": 1}, protocol=2))
    with pytest.raises(UserError) as error:
        triptych.load(path)
    refused(error, path)


def test_the_small_model_is_loaded(scene: Scene) -> None:
    """What is refused above is refused for what was changed."""
    model = triptych.load(checkpoint_of(scene.here / "step_0000001"))
    assert all(tensor.equal(weights()[name]) for name, tensor in model.state_dict().items())
