"""What libraries written in C print to standard error goes to the log."""

import faulthandler
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def library_noise_to_log() -> Iterator[None]:
    """Keep the lines of libtiff, OpenCV and others about broken files from standard error; what Python prints stays.

    They write to the file descriptor, past `sys.stderr`. At the end they are logged, at the level DEBUG. A crash of
    the interpreter still shows where it was. Nothing is done where `sys.stderr` is not the process's own, as in
    notebooks and tests, or where there is no place for a temporary file.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = -1
    if descriptor != 2:
        yield
        return
    try:
        heard = tempfile.TemporaryFile()  # not a pipe, which blocks when it is full  # noqa: SIM115
    except OSError:
        yield
        return
    ours, stream = os.dup(2), sys.stderr
    stream.flush()
    with heard:
        os.dup2(heard.fileno(), 2)
        # stays open: handlers of logging may keep it
        sys.stderr = open(ours, "w", buffering=1, encoding=stream.encoding, errors=stream.errors)  # noqa: SIM115
        faulthandler.enable(sys.stderr)
        try:
            yield
        finally:
            faulthandler.disable()
            sys.stderr.flush()
            os.dup2(ours, 2)
            sys.stderr = stream
            heard.seek(0)
            for line in heard.read().decode(errors="replace").splitlines():
                logger.debug("%s", line)
