"""How the threads of torch wait for work. No torch is imported here: OpenMP reads the environment once, as it loads."""

import os

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # KMP_BLOCKTIME: of Intel's and LLVM's runtimes
_CHOSEN_BY_USER = (*_WAITING, "GOMP_SPINCOUNT")


def wait_passively() -> None:
    """Let threads that have nothing to do sleep, in this process and those that it starts, as if the user had said so.

    By default they keep their cores busy for milliseconds after each piece of work, which takes the cores from all
    other processes. Results are the same bits. For programs, before torch is imported; nothing is changed if the user
    has set `OMP_WAIT_POLICY`, `GOMP_SPINCOUNT` or `KMP_BLOCKTIME`.
    """
    if not any(name in os.environ for name in _CHOSEN_BY_USER):
        os.environ.update(_WAITING)
