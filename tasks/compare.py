"""Compares two runs, to the last bit or within a tolerance: `triptych compare RUN_A RUN_B [tolerance=1e-5]`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.compare.run import compare  # imports matplotlib: only now that the configuration is known to be right

    return compare(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("compare", sys.argv[1:]))
