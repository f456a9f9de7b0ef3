"""Train `faces` on aligned crops. The first two commands cut the crops, once.

python inference/align_faces.py data/faces-train-*.tar -o data/faces-train.tar
python inference/align_faces.py data/faces-val-*.tar -o data/faces-val.tar
python train/faces.py --set data_dir=data --set output_dir=runs/faces
"""

from bringback.training.run import main

if __name__ == "__main__":
    main("configs/faces.yaml")
