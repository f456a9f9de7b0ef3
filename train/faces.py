"""Train `faces`: `accelerate launch train/faces.py --set output_dir=runs/faces`."""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/faces.yaml")
