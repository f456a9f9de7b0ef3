"""Train `upscale`, which doubles the size of photos.

python train/upscale.py --set data_dir=data --set output_dir=runs/upscale
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/upscale.yaml")
