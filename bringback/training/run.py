"""The command line that all train/ scripts share."""

import argparse
import logging
from pathlib import Path

from bringback.training.config import ConfigError, load_config


def main(default_config: str) -> None:
    """Parse `--config FILE --set key=value ...`, train, and say where the weights are; exit 2 on a bad config."""
    parser = argparse.ArgumentParser(description="Train one stage; every value of the config can be set from here.")
    parser.add_argument("--config", type=Path, default=Path(default_config), help="a YAML file (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    from bringback.training.loop import train
    from bringback.training.tasks import build_task

    try:
        config = load_config(arguments.config, arguments.overrides)
        train(build_task(config), config)
    except (ConfigError, FileNotFoundError) as error:
        parser.exit(2, f"error: {error}\n")
