"""What every train/ script is made of. Never imported by inference."""
