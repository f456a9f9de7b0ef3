"""Train `tone`: `accelerate launch train/tone.py --set output_dir=runs/tone`."""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/tone.yaml")
