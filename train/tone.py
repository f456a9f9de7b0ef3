"""Train `tone`, curves that correct fading and color casts.

python train/tone.py --set data_dir=data --set output_dir=runs/tone
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/tone.yaml")
