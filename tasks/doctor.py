"""Looks for faults in data before anything is trained on it: `triptych doctor data=folder data.root=FOLDER`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.doctor.check import check  # imports torch: only now that the configuration is known to be right

    return check(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("doctor", sys.argv[1:]))
