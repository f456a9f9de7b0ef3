"""Checkpoints: find, load, verify, fetch and convert them."""
