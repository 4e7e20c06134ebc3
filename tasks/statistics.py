"""Mean and deviation of the spectrograms of sounds, for data.front_end: `triptych statistics data=audio_folder ...`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.statistics import statistics  # imports torch: only now that the configuration is known to be right

    return statistics(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("statistics", sys.argv[1:]))
