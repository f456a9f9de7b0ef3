"""Train `mapping`: `accelerate launch train/mapping.py --set output_dir=runs/mapping`."""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/mapping.yaml")
