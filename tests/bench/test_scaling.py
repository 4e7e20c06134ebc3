"""The plan of strategies fits the memory that it is given."""

import pytest

from bench.scaling import Machine, plans, row, shape_of


@pytest.mark.parametrize(("name", "gpus"), [("vit_base_patch16_224", 1), ("7B", 8), ("70B", 1024)])
def test_plans_fit_and_less_memory_divides_more(name: str, gpus: int) -> None:
    shape = shape_of(name)
    large, small = (Machine(gib * 2**30, 4e14, 3e11, 4e10) for gib in (72, 24))
    found = list(plans(shape, gpus, 4096, large))
    assert found
    for plan in found:
        assert plan.memory <= large.memory
        assert plan.samples * plan.grid.data <= 4096
        assert plan.grid.data * plan.grid.tensor * plan.grid.pipeline == gpus
    tight = list(plans(shape, gpus, 4096, small))
    assert min((plan.time for plan in tight), default=float("inf")) >= min(plan.time for plan in found)
    assert row(found).startswith("`")


def test_what_does_not_fit_has_no_plan() -> None:
    assert not list(plans(shape_of("70B"), 1, 4096, Machine(72 * 2**30, 4e14, 3e11, 4e10)))
