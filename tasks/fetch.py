"""Brings a run back from the copy that `mirror=` made of it: `triptych fetch URL`."""

import sys
from pathlib import Path

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.checkpoints.fetch import fetch

    run = fetch(config.url, Path(config.output))
    print(f"{run}\ngo on with `triptych train resume={run}`")
    return 0


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("fetch", sys.argv[1:]))
