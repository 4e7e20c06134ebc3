import json
import math
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from omegaconf import ListConfig

from triptych.checkpoints.encode import decode, encode
from triptych.checkpoints.tensors import DTYPES, read_safetensors, safetensors_chunks
from triptych.errors import UserError

Same = Callable[[Any, Any], bool]

keys = st.one_of(
    st.text(max_size=4),
    st.integers(),
    st.booleans(),
    st.none(),
    st.tuples(st.integers(), st.text(max_size=2)),
    st.just("$"),
)
dtypes = st.sampled_from([dtype for dtype in DTYPES if not dtype.is_floating_point or dtype.itemsize > 1])
shapes = st.lists(st.integers(0, 3), max_size=3)
tensors = st.builds(lambda shape, dtype: torch.randint(0, 2, shape).to(dtype), shapes, dtypes)
arrays = hnp.arrays(
    st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes()), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
)
torch_values = st.sampled_from([torch.bfloat16, torch.device("cpu"), torch.device("cuda:1"), torch.Size([2, 3])])
numpy_scalars = st.sampled_from([np.float32(0.1), np.float64(math.inf), np.int64(-3), np.bool_(True), np.str_("é")])
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=8))
leaves = st.one_of(plain, st.complex_numbers(), tensors, arrays, torch_values, numpy_scalars)
states = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=12,
)


@given(states)
@settings(max_examples=150, deadline=None)
def test_any_nested_state_comes_back_to_the_last_bit(same: Same, state: Any) -> None:
    tree, tensors = encode(state)
    stored = read_safetensors_of(tensors)
    assert same(state, decode(json.loads(json.dumps(tree, allow_nan=False)), stored))


def read_safetensors_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from pathlib import Path

    return read_safetensors(Path("memory"), b"".join(bytes(chunk) for chunk in safetensors_chunks(tensors)))


@given(st.frozensets(st.integers()), st.sets(st.text()))
@settings(max_examples=20, deadline=None)
def test_sets_come_back(frozen: frozenset[int], other: set[str]) -> None:
    assert decode(*encode([frozen, other])) == [frozen, other]


class Colour(Enum):
    RED = "red"


def test_an_enum_is_stored_as_its_value() -> None:
    assert decode(*encode({"colour": Colour.RED})) == {"colour": "red"}


@pytest.mark.parametrize(
    ("thing", "named"),
    [
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (ListConfig([1]), "omegaconf.listconfig.ListConfig"),
        (object(), "builtins.object"),
        (print, "builtin_function_or_method"),
        (np.array([object()]), "dtype object"),
        (torch.ones(2).to_sparse(), "sparse"),
        (torch.empty(1, device="meta"), "meta"),
        (torch.ones(1, dtype=torch.complex128), "complex128"),
    ],
)
def test_what_has_no_plain_form_is_refused_by_its_path(thing: Any, named: str) -> None:
    with pytest.raises(UserError) as error:
        encode({"callbacks": {"Mine": [0, thing]}})
    assert "checkpoint['callbacks']['Mine'][1]" in str(error.value)
    assert named in str(error.value)


def test_a_state_that_holds_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["again"] = [state]
    with pytest.raises(UserError, match=r"checkpoint\['again'\]\[0\] holds itself"):
        encode(state)


def test_two_paths_that_read_alike_keep_their_own_tensor() -> None:
    state = {"a.b": torch.tensor(1), "a": {"b": torch.tensor(2)}, 1: torch.tensor(3), "1": torch.tensor(4)}
    back = decode(*encode(state))
    assert (int(back["a.b"]), int(back["a"]["b"]), int(back[1]), int(back["1"])) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "tree",
    [
        {"$": "code"},
        {"$": "tensor", "name": "nowhere"},
        {"$": "array", "dtype": "O", "shape": [1], "name": "bytes"},
        {"$": "array", "dtype": "<f4", "shape": [99], "name": "bytes"},
        {"$": "dtype", "name": "load"},
        {"$": "dtype", "name": "os"},
        {"$": "bytes", "value": "!"},
        {"$": "tuple", "items": 3},
        {"$": "dict", "items": [[[1], 2]]},
        {"$": ["list"]},
    ],
)
def test_a_forged_tree_is_an_error_and_runs_nothing(tree: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(tree, {"bytes": torch.zeros(8, dtype=torch.uint8)})
