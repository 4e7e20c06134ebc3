"""Tells how a run fares, while it goes on or after: `triptych status RUN_DIRECTORY`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.status.run import status

    return status(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("status", sys.argv[1:]))
