"""Packages that only some need: imported late, with an error that names the extra to install."""

from collections.abc import Iterator
from contextlib import contextmanager

from bringback.errors import MissingExtra


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of what the extra `name` installs: where one fails, `MissingExtra` says how to get it.

    A package that is there but does not import (torchvision beside another torch raises RuntimeError) is named with
    what it says.
    """
    try:
        yield
    except (ImportError, RuntimeError, OSError) as error:
        if isinstance(error, MissingExtra):
            raise
        if isinstance(error, ModuleNotFoundError):
            why = f"{error.name} is not installed"
        else:
            why = f"what is installed does not import ({(str(error).splitlines() or [type(error).__name__])[0]})"
        raise MissingExtra(f'{why}: pip install "bringback[{name}]"') from error
