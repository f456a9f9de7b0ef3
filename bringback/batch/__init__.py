"""Batch processing of folders: planning, locking, resuming, and a manifest of the results."""
