"""The state of every random generator that a training step may draw from: Python, numpy, torch CPU, CUDA."""

import hashlib
import random
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from triptych.errors import UserError


def rng_state() -> dict[str, Any]:
    """The generators' states of this process, as plain data and tensors (`torch`: uint8 (bytes,); `cuda`: one per
    device).
    """
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the generators back to where `rng_state` found them.

    CUDA generators are set where both the state and this machine have them: a run may move from GPU to CPU, but is
    then no longer the same to the last bit for other reasons.

    Raises UserError for what is no such state: it may come from a checkpoint of anybody.
    """
    try:
        _set(state)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"the states of the random generators are none ({error!r:.200}): this checkpoint can be loaded, not resumed"
        ) from error


def _set(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        for device, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(device_state, device)


def rng_states(processes: int, share: int = 0) -> list[Any]:
    """`rng_state` for each share of the batches, in order, of the processes that train together; each must ask.

    Args:
        processes: how many there are.
        share: that this one sees; those that see the same draw the same.
    """
    if processes == 1:
        return [rng_state()]
    found: list[Any] = [None] * processes
    torch.distributed.all_gather_object(found, (share, rng_state()))
    states = dict(reversed(found))  # the first process of each share
    return [states[share] for share in sorted(states)]


def seed_share(seed: int, share: int) -> None:
    """Starts the generators for a share of the batches: other shares draw other noise, peers of one share the same."""
    own = int.from_bytes(hashlib.blake2b(struct.pack("<2q", seed, share), digest_size=4).digest(), "little")
    random.seed(own)
    np.random.seed(own)
    torch.manual_seed(own)
