"""Train `scale`, which reads from the spectrum of a photo how far it can be shrunk.

python train/scale.py --set data_dir=data --set output_dir=runs/scale
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/scale.yaml")
