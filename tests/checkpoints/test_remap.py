"""The remap engine uses each key once, both ways, or names the one it cannot."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.checkpoints.remap import Rule, check_keys, export_state, import_state, join, rename, reshape
from triptych.errors import UserError

RULES = [
    rename("layer.{n}.w.{kind}", "blocks.{n}.weight.{kind}"),
    join(("layer.{n}.q", "layer.{n}.k", "layer.{n}.v"), "blocks.{n}.qkv"),
    reshape("token", "token", (1, 1, -1), (-1,)),
    Rule(("table",), ("first", "rest"), lambda t: [t[0][:1], t[0][1:]], lambda t: [torch.cat(list(t))]),
]


def foreign(depth: int) -> dict[str, torch.Tensor]:
    state = {f"layer.{n}.{k}": torch.randn(2, 3) for n in range(depth) for k in ("q", "k", "v", "w.a", "w.b")}
    return state | {"token": torch.randn(1, 1, 3), "table": torch.randn(5, 3)}


@given(depth=st.integers(0, 12))
@settings(max_examples=10, deadline=None)
def test_there_and_back(depth: int) -> None:
    state = foreign(depth)
    own = import_state(RULES, state)
    assert own["token"].shape == (3,)
    assert own["rest"].shape == (4, 3)
    if depth:
        assert torch.equal(own["blocks.0.qkv"][2:4], state["layer.0.k"])
    back = export_state(RULES, own)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_what_has_no_place_is_named() -> None:
    with pytest.raises(UserError, match=r"no place for 6 weights: a\.0, a\.1, a\.2, a\.3 and 2 more"):
        import_state(RULES, {f"a.{i}": torch.zeros(1) for i in range(6)})
    with pytest.raises(UserError, match=r"export knows no place for 1 weights: layer\.0\.q"):
        export_state(RULES, {"layer.0.q": torch.zeros(1)})


def test_a_missing_partner_is_named() -> None:
    state = foreign(2)
    del state["layer.1.k"]
    with pytest.raises(UserError, match=r"found the weight 'layer\.1\.q' but not 'layer\.1\.k'"):
        import_state(RULES, state)


def test_no_key_is_used_or_made_twice() -> None:
    with pytest.raises(UserError, match="use the weight 'a' twice"):
        import_state([rename("a", "b"), rename("{x}", "c")], {"a": torch.zeros(1)})
    with pytest.raises(UserError, match="make the weight 'c' twice"):
        import_state([rename("a", "c"), rename("b", "c")], {"a": torch.zeros(1), "b": torch.zeros(1)})


def test_a_dot_is_no_wildcard() -> None:
    with pytest.raises(UserError, match="no place"):
        import_state([rename("a.b", "c")], {"axb": torch.zeros(1)})


def test_keys_and_shapes_must_be_those_of_the_model() -> None:
    expected = {"a": torch.zeros(2), "b": torch.zeros(3)}
    check_keys(expected, expected, "here")
    with pytest.raises(
        UserError, match=r"of here .* missing: b; unexpected: c; of another shape: a \(1,\) instead of \(2,\)"
    ):
        check_keys({"a": torch.zeros(1), "c": torch.zeros(1)}, expected, "here")
