"""Stage `prior`: a network that is fitted to one photo."""
