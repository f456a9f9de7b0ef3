"""What libraries print past Python."""

import subprocess
import sys

PROGRAM = """
import logging, os, sys
from bringback.runtime.noise import library_noise_to_log
logging.basicConfig(filename={log!r}, level=logging.DEBUG)
with library_noise_to_log():
    os.write(2, b"tempfile.tif: broken" + b"!" * 200_000)
    print("ours", file=sys.stderr)
    try:
        raise ValueError
    except ValueError:
        pass
print("after", file=sys.stderr)
os.write(2, b"outside")
"""


def test_lines_of_libraries_go_to_the_log(tmp_path):
    log = tmp_path / "log"
    program = [sys.executable, "-c", PROGRAM.format(log=str(log))]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.stderr == "ours\nafter\noutside" and done.returncode == 0
    assert "DEBUG:bringback.runtime.noise:tempfile.tif: broken!" in log.read_text()
