"""Networks for faces."""
