"""Train the scratch U-Net: `accelerate launch train/scratches.py --set output_dir=runs/scratches`."""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/scratches.yaml")
