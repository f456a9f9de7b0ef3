"""Train `relight`, which brightens and denoises dark photos.

python train/relight.py --set data_dir=data --set output_dir=runs/relight
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/relight.yaml")
