"""Tells images apart by words: `triptych zero_shot checkpoint=RUN data=...`, or `image=FILE labels='a cat,a dog'`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.zero_shot.task import zero_shot  # imports torch: only now that the configuration is known

    return zero_shot(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("zero_shot", sys.argv[1:]))
