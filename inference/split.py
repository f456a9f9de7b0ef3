"""Split pages, flatbed scans and photos of a table into prints; the same as `bringback split`.

python inference/split.py PAGES -o OUT [--upright] [--overwrite] ...
"""

from bringback.cli.main import script
from bringback.cli.split import split

if __name__ == "__main__":
    script(split)
