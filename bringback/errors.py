"""Every error that a user can meet; each says in one line what is wrong, and of which file."""

import difflib
import errno
from collections.abc import Collection, Iterable
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class PhotoError(ValueError):
    """A photo that cannot be read, used or written; the message is one line that names the file."""


class CodecError(ValueError):
    """A file that is not a picture we can read; one line without the file's name."""


class UsageError(ValueError):
    """A command that cannot be carried out as it was given; one line."""


class WriteError(ValueError):
    """A file that cannot be written; one line that names it. `full`: nor can any other, the disk being full."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: cannot be written: {error.strerror or error}")
        self.full = error.errno in _FULL


class MissingWeights(FileNotFoundError):
    """A checkpoint is not where it should be, or cannot be read; one line, naming it."""


class MissingExtra(ImportError):
    """A package of one of the extras is not installed, or is broken; one line that says what to do."""


class ConversionError(ValueError):
    """Weights that cannot be converted; one line, naming the file and what is wrong with it."""


class ConfigError(ValueError):
    """A key or value that the config does not know; one line, naming the nearest right key."""


class SaveError(OSError):
    """What a run has learned could not be written; one line."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: "; did you mean 'telea'?", or nothing where no known name is near."""
    near = difflib.get_close_matches(str(name).lower(), known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def known_names(given: str, known: Collection[str]) -> str:
    """The known names, and the one that may have been meant: "pushpull, telea, ns; did you mean 'telea'?"."""
    return f"{', '.join(known)}{did_you_mean(given, known)}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
