"""Train `scratches`, the damage detector.

python train/scratches.py --set data_dir=data --set output_dir=runs/scratches
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/scratches.yaml")
