"""Train `old_vae`, starting from the shipped clean VAE (or your own: `--set init_from=runs/clean_vae`).

python train/old_vae.py --set data_dir=data --set output_dir=runs/old_vae
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/old_vae.yaml")
