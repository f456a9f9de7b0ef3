"""The networks of the original method at its own sizes, for weights that were published for it (family `paper`)."""
