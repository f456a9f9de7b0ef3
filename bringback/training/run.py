"""The command line shared by all train/ scripts."""

import argparse
import logging
import os
from pathlib import Path

from bringback.errors import ConfigError, MissingExtra
from bringback.runtime.extras import extra
from bringback.runtime.threads import wait_passively
from bringback.training.config import load_config


def main(default_config: str) -> None:
    """Parse `--config FILE --set key=value ...`, train, and print where the weights are.

    Exit codes: 2 for an invalid config, missing data or a missing package, 1 if the weights could not be written, 130
    if the run was interrupted (after saving its state).
    """
    parser = argparse.ArgumentParser(description="Train one stage; every value of the config can be set from here.")
    parser.add_argument("--config", type=Path, default=Path(default_config), help="a YAML file (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    # only the first process logs progress; the others would repeat it
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    wait_passively()
    try:
        # imported here so that --help does not wait for torch, and its threads wait as they should
        with extra("train"):
            from accelerate.utils import set_seed

        from bringback.training.loop import train
        from bringback.training.tasks import build_task

        config = load_config(arguments.config, arguments.overrides)
        set_seed(config.seed)  # before the networks are initialized
        out = train(build_task(config), config)
        logging.getLogger(__name__).info("done; use it with: bringback restore PHOTOS -o OUT --weights %s", out)
    except (ConfigError, MissingExtra, FileNotFoundError) as error:
        parser.exit(2, f"error: {error}\n")
    except OSError as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt as error:
        parser.exit(130, f"{error or 'interrupted'}\n")
