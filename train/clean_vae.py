"""Train `clean_vae` on clean photos.

python train/clean_vae.py --set data_dir=data --set output_dir=runs/clean_vae
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/clean_vae.yaml")
