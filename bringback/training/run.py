"""The command line that all train/ scripts share."""

import argparse
import logging
import os
from pathlib import Path

from bringback.errors import ConfigError
from bringback.training.config import load_config


def main(default_config: str) -> None:
    """Parse `--config FILE --set key=value ...`, train, and say where the weights are.

    Exits 2 on a bad config or missing data, 1 when the weights could not be written, 130 when interrupted (saved).
    """
    parser = argparse.ArgumentParser(description="Train one stage; every value of the config can be set from here.")
    parser.add_argument("--config", type=Path, default=Path(default_config), help="a YAML file (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    # one voice: the other processes speak only when something is wrong
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    from accelerate.utils import set_seed

    from bringback.training.loop import train
    from bringback.training.tasks import build_task

    try:
        config = load_config(arguments.config, arguments.overrides)
        set_seed(config.seed)  # the weights that a network starts from are part of the run
        out = train(build_task(config), config)
        logging.getLogger(__name__).info("done; use it with: bringback restore PHOTOS -o OUT --weights %s", out)
    except (ConfigError, FileNotFoundError) as error:
        parser.exit(2, f"error: {error}\n")
    except OSError as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt as error:
        parser.exit(130, f"{error or 'interrupted'}\n")
