"""Bridges to programs that spread work over machines; none of them is needed otherwise."""
