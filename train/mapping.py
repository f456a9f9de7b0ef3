"""Train `mapping` between the shipped VAEs (or your own: `--set weights=DIR`, a folder of checkpoint folders).

python train/mapping.py --set data_dir=data --set output_dir=runs/mapping
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/mapping.yaml")
