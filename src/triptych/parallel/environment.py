"""Tells Lightning where this process stands among those of the job."""

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from triptych.parallel.ranks import Ranks


class JoinedEnvironment(ClusterEnvironment):
    """Processes that run already and are connected (`ranks.joined`), so that Lightning starts and connects none."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        raise RuntimeError("the processes are connected already")

    @property
    def main_port(self) -> int:
        raise RuntimeError("the processes are connected already")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._ranks.world_size

    def set_world_size(self, size: int) -> None:
        assert size == self._ranks.world_size, (size, self._ranks)

    def global_rank(self) -> int:
        return self._ranks.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self._ranks.rank, (rank, self._ranks)

    def local_rank(self) -> int:
        return self._ranks.local

    def node_rank(self) -> int:
        return self._ranks.rank // self._ranks.local_size
