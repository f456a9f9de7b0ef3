"""What libraries written in C print to standard error goes to the log."""

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

    They write to the file descriptor, past `sys.stderr`. At the end they are logged, at the level DEBUG. Where
    `sys.stderr` is not the process's own, as in notebooks and tests, nothing is done.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = -1
    if descriptor != 2:
        yield
        return
    ours, stream = os.dup(2), sys.stderr
    stream.flush()
    with tempfile.TemporaryFile() as heard:  # not a pipe, which blocks when it is full
        os.dup2(heard.fileno(), 2)
        sys.stderr = open(ours, "w", buffering=1, encoding=stream.encoding, errors=stream.errors)  # noqa: SIM115
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(ours, 2)
            sys.stderr.close()
            sys.stderr = stream
            heard.seek(0)
            for line in heard.read().decode(errors="replace").splitlines():
                logger.debug("%s", line)
