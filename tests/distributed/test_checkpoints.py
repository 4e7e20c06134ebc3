"""A run goes on in any number of processes and by any strategy, with the same samples; its shards read as one model."""

import json
from pathlib import Path

import pytest
import torch

import triptych
from triptych.checkpoints.format import read_checkpoint
from triptych.checkpoints.manifest import SHARDS, DamagedError
from triptych.command.start import start

from .toy_runs import make_data, resume, trace, train, worst

pytestmark = pytest.mark.slow

NAMES = ("train/loss", "grad_norm", "val/loss")
OFTEN = ["optimizer=adamw", "optimizer.lr=0.001", "ema=ema", "checkpoint.every_steps=5", "checkpoint.keep=9"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    return train("images", data, tmp_path_factory.mktemp("whole"), 1, *OFTEN)


def test_two_then_one_then_four_then_two_processes(data: Path, whole: Path, tmp_path: Path) -> None:
    """Sharded, alone, sharded with shared products, copies: each goes on from the save of the one before it, and ends
    with the trace of one process that did it all.
    """
    run = train("images", data, tmp_path, 2, *OFTEN, "trainer=fsdp", "trainer.accelerator=cpu")
    ways = [
        (1, "step_0000005", ["trainer.sharded=false"]),
        (4, "step_0000010", ["trainer.sharded=true", "trainer.tensor=2"]),
        (2, "step_0000015", ["trainer.sharded=false", "trainer.tensor=1"]),
    ]
    for processes, step, words in ways:
        newest = sorted((run / "checkpoints").glob(f"{step}*"), key=lambda path: path.stat().st_mtime)[-1]
        resume(newest, processes, *words)
        assert worst(trace(whole), trace(run), *NAMES) < 1e-5, (processes, step)
    expected, found = (read_checkpoint((each / "checkpoints" / "last").resolve()) for each in (whole, run))
    for name, tensor in expected["state_dict"].items():
        assert torch.allclose(found["state_dict"][name], tensor, rtol=1e-4, atol=1e-6), name
    for place, entry in expected["optimizer_states"][0]["state"].items():
        for key, value in entry.items():
            assert found["optimizer_states"][0]["state"][place][key].shape == value.shape, (place, key)


def test_two_stages_then_one_process_then_two_stages(data: Path, whole: Path, tmp_path: Path) -> None:
    """Each stage saves its blocks under their names in the whole model, and takes those again."""
    staged = ["trainer.pipeline=2"]
    run = train("images", data, tmp_path, 2, *OFTEN, "trainer=pipeline", "trainer.accelerator=cpu", *staged)
    for processes, step, words in ((1, "step_0000005", ["trainer.pipeline=1"]), (2, "step_0000010", staged)):
        newest = sorted((run / "checkpoints").glob(f"{step}*"), key=lambda path: path.stat().st_mtime)[-1]
        resume(newest, processes, *words)
        assert worst(trace(whole), trace(run), *NAMES) < 1e-5, (processes, step)
    expected, found = (read_checkpoint((each / "checkpoints" / "last").resolve()) for each in (whole, run))
    assert list(found["state_dict"]) == list(expected["state_dict"])
    for part in ("state_dict", "ema"):
        for name, tensor in expected[part].items():
            assert torch.allclose(found[part][name], tensor, rtol=1e-4, atol=1e-6), (part, name)
    theirs, ours = (each["optimizer_states"][0]["state"] for each in (expected, found))
    assert theirs.keys() == ours.keys()
    for place, entry in theirs.items():
        for key, value in entry.items():
            assert torch.allclose(ours[place][key], value, rtol=1e-3, atol=1e-6), (place, key)


def test_shards_are_the_model_that_any_command_takes(data: Path, whole: Path, tmp_path: Path) -> None:
    run = train("images", data, tmp_path, 4, *OFTEN, "trainer=fsdp_tp", "trainer.accelerator=cpu")
    last = (run / "checkpoints" / "last").resolve()
    names = {path.name for path in last.iterdir()}
    assert {SHARDS, "manifest.json", "state.json", "config.json"} < names
    assert {f"model.0000{rank}.safetensors" for rank in range(4)} < names
    assert not any(path.name.startswith((".tmp-", "note_")) for path in [*last.iterdir(), *last.parent.iterdir()])
    one, several = (triptych.load(each).state_dict() for each in (whole, run))
    assert one.keys() == several.keys()
    for name, tensor in one.items():
        assert torch.allclose(several[name], tensor, rtol=1e-4, atol=1e-6), name
    assert start("evaluate", [f"checkpoint={run}", f"output={tmp_path / 'e'}", "device.accelerator=cpu"]) == 0
    # A shard that is cut short is found, and named.
    shard = last / "model.00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(DamagedError, match=r"model\.00002\.safetensors is damaged"):
        read_checkpoint(last)


def test_an_index_that_lies_is_refused(data: Path, tmp_path: Path) -> None:
    """Sums guard against damage, not against an author: an index of boxes that are not there is refused, too."""
    from triptych.checkpoints.files import write_file
    from triptych.checkpoints.manifest import MANIFEST, manifest_text, read_manifest

    run = train("images", data, tmp_path, 2, *OFTEN, "trainer=fsdp", "trainer.accelerator=cpu")
    last = (run / "checkpoints" / "last").resolve()
    index = json.loads((last / SHARDS).read_text())
    manifest = read_manifest(last)
    name = next(name for name, entry in index["model.safetensors"].items() if len(entry["shape"]) == 2)
    entry = index["model.safetensors"][name]
    lies = [
        entry | {"shape": [10**9, 10**9]},
        entry | {"boxes": entry["boxes"][:1]},
        entry | {"boxes": [box | {"offsets": [-1, 0]} for box in entry["boxes"]]},
        entry | {"boxes": [box | {"file": "../../x.safetensors"} for box in entry["boxes"]]},
        entry | {"dtype": "I64"},
        entry | {"boxes": [box | {"key": "nothing"} for box in entry["boxes"]]},
        {"boxes": 3},
    ]
    for lie in lies:
        changed = index | {"model.safetensors": index["model.safetensors"] | {name: lie}}
        (last / SHARDS).unlink()
        written = write_file(last / SHARDS, [json.dumps(changed).encode()])
        (last / MANIFEST).write_text(manifest_text({**manifest.files, SHARDS: written}, manifest.facts))
        with pytest.raises(DamagedError, match=r"index of shards|does not hold the part"):
            read_checkpoint(last)
