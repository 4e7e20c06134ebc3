"""An index of shards that lies: what was never written is never handed out, nor is memory taken for it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triptych.checkpoints.format import read_weights
from triptych.checkpoints.manifest import MODEL, DamagedError
from triptych.checkpoints.tensors import safetensors_chunks

from .corpus import Scene, bounded, refused, reseal

FILE = "model.00000.safetensors"
TENSORS = {"a": torch.arange(2.0), "b": torch.arange(2.0) + 2}


def box(key: str, offsets: Any, sizes: Any = (2,), file: Any = FILE) -> dict[str, Any]:
    return {"file": file, "key": key, "offsets": offsets, "sizes": list(sizes) if isinstance(sizes, tuple) else sizes}


def entry(shape: Any, *boxes: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "boxes": list(boxes)}


WHOLE = entry([4], box("a", [0]), box("b", [2]))


def folder_of(scene: Scene, index: Any) -> Path:
    """A whole checkpoint of several processes with this index."""
    folder = scene.here / "step_0000001"
    folder.mkdir(exist_ok=True)
    for name in (FILE, "training.00000.safetensors"):
        (folder / name).write_bytes(b"".join(safetensors_chunks(TENSORS)))
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    return reseal(folder, shards_json=text, state_json=b"{}", config_json=b"{}")


def test_an_honest_index_is_read(scene: Scene) -> None:
    found = read_weights(folder_of(scene, {MODEL: {"w": WHOLE}}), MODEL)
    assert found["w"].tolist() == [0, 1, 2, 3]


LIES = {
    "an overlap leaves a hole": entry([4], box("a", [0]), box("b", [1])),
    "the same box twice": entry([4], box("a", [0]), box("b", [0])),
    "a box is not whole": entry([4], box("a", [0])),
    "beyond the end": entry([4], box("a", [0]), box("b", [3])),
    "before the start": entry([4], box("a", [0]), box("b", [-2])),
    "sizes below 0": entry([-4], box("a", [-2], [-2]), box("b", [-4], [-2])),
    "two sizes below 0": entry([-2, -2], box("a", [0, 0], [-2, -2])),
    "a fraction": entry([4], box("a", [0]), box("b", [2.0])),
    "a truth": entry([4], box("a", [False]), box("b", [2])),
    "a text for a list": entry("4", box("a", "0", "2"), box("b", "2", "2")),
    "endless": entry([float("inf")], box("a", [0])),
    "not a number": entry([float("nan")], box("a", [0])),
    "more than memory": entry([10**12], box("a", [0], [10**12])),
    "nothing of 10^30": entry([0, 10**30]),
    "nothing of 2^40 times 2^40": entry([0, 2**40, 2**40]),
    "a scalar of two boxes": entry([], box("a", [], []), box("b", [], [])),
    "another rank": entry([2, 2], box("a", [0]), box("b", [2])),
    "another type": entry([4], box("a", [0]), box("b", [2]), dtype="F16"),
    "no type": entry([4], box("a", [0]), box("b", [2]), dtype="torch.load"),
    "a key that is not there": entry([4], box("a", [0]), box("c", [2])),
    "a file outside": entry([2], box("a", [0], file="../../outside/letter.txt")),
    "a file from the root": entry([2], box("a", [0], file="/etc/passwd")),
    "a file that is no shard": entry([2], box("a", [0], file="state.json")),
    "no boxes": {"dtype": "F32", "shape": [4]},
    "boxes that are none": entry([4], 3, None),
    "nothing": None,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_told(lie: str, scene: Scene) -> None:
    folder = folder_of(scene, {MODEL: {"w": LIES[lie]}})
    with bounded(64, 5), pytest.raises(DamagedError) as error:
        read_weights(folder, MODEL)
    refused(error, folder)


DEEP = b'{"model.safetensors": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("index", [b"", b"[]", b"3", b'"model"', b"{", b'{"model.safetensors": 3}', b"\xff", DEEP])
def test_what_is_no_index_is_told(index: bytes, scene: Scene) -> None:
    folder = folder_of(scene, index)
    with bounded(64, 5), pytest.raises(DamagedError) as error:
        read_weights(folder, MODEL)
    refused(error, "shards.json")


MARKS = b'0123456789[]{},:-.e"truef \x00\xff'


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_gives_the_same_tensors_or_a_message(scene: Scene, data: st.DataObject) -> None:
    text = bytearray(json.dumps({MODEL: {"w": WHOLE}}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        new = data.draw(st.sampled_from(MARKS))
        text[place : place + data.draw(st.integers(0, 2))] = bytes([new])
    folder = folder_of(scene, bytes(text))
    try:
        found = read_weights(folder, MODEL)
    except DamagedError:
        return
    assert all(tensor.tolist() in ([0, 1, 2, 3], [2, 3, 0, 1]) for tensor in found.values())
