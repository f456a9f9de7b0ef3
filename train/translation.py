"""Train the whole translation end to end, continuing the last run (or from scratch: `--set init_from=`).

python train/translation.py --set data_dir=data --set output_dir=runs/translation
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/translation.yaml")
