"""The original method's published weights (Wan et al. 2020), read and converted."""
