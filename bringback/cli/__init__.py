"""The `bringback` command."""
