"""Stages of the original method, for converted weights; each file is named after the stage that it replaces."""
