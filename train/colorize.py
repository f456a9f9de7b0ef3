"""Train `colorize`, which colorizes gray photos.

python train/colorize.py --set data_dir=data --set output_dir=runs/colorize
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/colorize.yaml")
