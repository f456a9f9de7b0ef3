"""Evaluation of restorations. Training imports nothing from here."""
