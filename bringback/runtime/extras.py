"""Lazy imports of optional dependencies, with an error that names the extra to install."""

from collections.abc import Iterator
from contextlib import contextmanager

from bringback.errors import MissingExtra


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Context for imports of packages of the extra `name`: raises `MissingExtra` with the command to install it.

    If a package is installed but fails to import (torchvision built for another torch raises RuntimeError), the message
    includes its error.
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
