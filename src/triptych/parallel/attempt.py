"""A name for each time that a launcher starts the processes of a job, on which they agree through a store.

torchrun keeps one store for all its attempts (torch 2.15, `elastic/rendezvous`), so a process would take the address
that a lost one left there for that of the living one, and be refused. Its count of restarts does not tell attempts
apart: on several machines each agent counts its own.
"""

import time
import uuid

from torch._C._distributed_c10d import Store  # in torch.distributed too, but not for type checkers


def agree_on_attempt(store: Store, rank: int, world_size: int, patience: float) -> str:
    """The name of this attempt, the same one in all its processes, whatever earlier attempts left in the store.

    Each process but the first says hello by a word of its own, and waits for the answer to that word.

    Args:
        store: that all share.
        rank: of this process.
        world_size: how many there are.
        patience: seconds to wait for the others; on the store's own limit as well.

    Raises:
        TimeoutError: in the first process: some did not arrive.
        torch.distributed.DistStoreError: in another: the first did not answer.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"hello/{rank}", own)
        name = store.get(f"welcome/{own}").decode()
        store.set(f"arrived/{name}/{rank}", "")
        return name
    deadline = time.monotonic() + patience
    answered: dict[int, str] = {}
    missing = list(range(1, world_size))
    while missing:
        for each in missing:
            # What is there may still be the hello of an earlier attempt: it is looked at until the right one came.
            word = store.get(f"hello/{each}").decode() if store.check([f"hello/{each}"]) else None
            if word is not None and answered.get(each) != word:
                store.set(f"welcome/{word}", own)
                answered[each] = word
        missing = [each for each in missing if not store.check([f"arrived/{own}/{each}"])]
        if missing and time.monotonic() > deadline:
            raise TimeoutError(f"processes {missing} of {world_size} have not arrived within {patience:g} s")
        time.sleep(0.01)
    return own
