"""Flags that processes see together."""

import torch.distributed as dist

from triptych.parallel.launch import launch
from triptych.parallel.ranks import joined
from triptych.parallel.votes import Votes


def test_a_process_alone_sees_its_flags_at_once_and_once() -> None:
    votes = Votes(("stop", "save"))
    assert not votes.seen("stop")
    votes.cast("stop")
    votes.exchange()
    assert votes.seen("stop")
    assert not votes.seen("save")
    votes.exchange()
    assert not votes.seen("stop")


def test_all_processes_see_a_flag_at_the_same_step_and_none_waits() -> None:
    assert launch(_vote, None, 3) == 0


def _vote(nothing: None) -> int:
    with joined() as ranks:
        votes = Votes(("stop", "save"))
        seen = []
        for step in range(6):
            if step == 2 and ranks.rank == 1:
                votes.cast("stop")
            if step == 3:
                votes.cast("save")
            votes.exchange()
            seen.append((votes.seen("stop"), votes.seen("save")))
        votes.settle()
        everyone: list[list[tuple[bool, bool]] | None] = [None] * 3
        dist.all_gather_object(everyone, seen)
        assert everyone[0] == everyone[1] == everyone[2]
        no = (False, False)
        assert seen == [no, no, no, (True, False), (False, True), no]
    return 0
