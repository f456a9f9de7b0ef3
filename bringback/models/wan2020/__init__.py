"""The networks of the original method (Wan et al. 2020), for its published weights (family `paper`)."""
