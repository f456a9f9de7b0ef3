"""The latent translation: two VAEs, the mapping between their latents, and what it is built of."""
