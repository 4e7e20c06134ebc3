"""Times a model and the loader, beside timm's: `triptych benchmark [model=...] [mode=train|inference|loader|all]`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.benchmark.run import benchmark  # imports torch: only now that the configuration is known

    return benchmark(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("benchmark", sys.argv[1:]))
