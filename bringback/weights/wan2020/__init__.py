"""Read and convert the published weights of the original method (Wan et al. 2020)."""
