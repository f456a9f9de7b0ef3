"""`python -m bringback`, for where the command `bringback` is not on the path."""

from bringback.cli import app

if __name__ == "__main__":
    app()
