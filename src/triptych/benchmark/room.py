"""How much memory a step may take."""

import torch

from triptych.analysis import machine
from triptych.errors import UserError
from triptych.measure.memory import parse_bytes

SHARE = 0.9


def room_for(asked: str | None, key: str, device: torch.device) -> int:
    """Bytes of the setting `key`, or nine tenths of what is free on the device.

    Raises UserError for a text that is no amount of memory, and where nothing tells what is free.
    """
    if asked is not None:
        return parse_bytes(asked, key)
    free = machine.free_memory(device)
    if free is None:
        raise UserError(f"nothing tells how much memory is free here: set {key}, such as {key}=4GiB")
    return int(SHARE * free)
