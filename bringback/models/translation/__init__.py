"""The latent translation: two VAEs, the mapping between their latents, and its parts."""
