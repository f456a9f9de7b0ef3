"""Training: data, tasks, the loop and its saved state. Never imported by inference."""
