"""Train `clean_vae`: `accelerate launch train/clean_vae.py --set output_dir=runs/clean_vae`."""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/clean_vae.yaml")
