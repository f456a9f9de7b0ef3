"""Train `old_vae`: `accelerate launch train/old_vae.py --set output_dir=runs/old_vae`."""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/old_vae.yaml")
