"""Threads without work sleep in every program, from the moment torch is loaded; the user's own choice stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
WATCH = f"""
import os, runpy, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.exit(str({{one: os.environ[one] for one in {VARIABLES} if one in os.environ}}))
sys.meta_path.insert(0, Watch())
"""
MODULE = "runpy.run_module('bringback', run_name='__main__')"
SCRIPT = "runpy.run_path(sys.argv[0], run_name='__main__')"
PHOTO = str(ROOT / "examples" / "photos" / "portrait.jpg")
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def when_torch_is_imported(code, *arguments, **environment):
    """The variables at the moment when the program asks for torch, where it ends."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    program = [sys.executable, "-c", f"{WATCH}\nsys.argv = sys.argv[1:]\n{code}", *map(str, arguments)]
    environment = {**kept, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=60)
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (MODULE, ["bringback", "restore", PHOTO, "-o", "OUT"]),
        (MODULE, ["bringback", "web"]),
        (MODULE, ["bringback", "evaluate", ROOT / "examples", "--recipe", "clean"]),
        (SCRIPT, ["inference/restore.py", PHOTO, "-o", "OUT"]),
        (SCRIPT, ["inference/colorize.py", PHOTO, "-o", "OUT"]),
        (SCRIPT, ["train/tone.py"]),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(map(str, value[:2])).removesuffix(PHOTO),
)
def test_programs_wait_passively(code, arguments, tmp_path):
    arguments = [tmp_path / "out" if one == "OUT" else one for one in arguments]
    assert when_torch_is_imported(code, *arguments) == str(PASSIVE)


@pytest.mark.parametrize("own", [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "5"), ("KMP_BLOCKTIME", "1")])
def test_what_the_user_has_set_stays(own):
    assert when_torch_is_imported(SCRIPT, "train/tone.py", **dict([own])) == str(dict([own]))


def test_the_library_leaves_the_environment_alone():
    assert when_torch_is_imported("import bringback; bringback.Pipeline") == "{}"
