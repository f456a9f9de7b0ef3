"""Folders of photos: what is to be done, by whom, and what became of each."""
