"""The other ways to serve that `bench_serve.py` measures, each a server process of its own.

``python scripts/serve_rivals.py NAME FOLDER PORT`` serves the model in FOLDER (``model.pickle``, a
fitted scikit-learn pipeline, and ``model.onnx``, its graph) on 127.0.0.1 until it is ended.
Each is written as its own guide has it: a pydantic model of a patient, a route, no more.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"


def patient_model() -> Any:
    """A pydantic model of a patient, all attributes optional numbers."""
    from pydantic import create_model

    from heart.attributes import NAMES

    fields: dict[str, Any] = dict.fromkeys(NAMES, (float | None, None))
    return create_model("Patient", **fields)


def pickled(folder: Path, port: int) -> None:
    """FastAPI and uvicorn; the pickled pipeline is given a DataFrame for each request."""
    import pandas as pd
    import uvicorn
    from fastapi import FastAPI

    pipeline = pickle.loads((folder / "model.pickle").read_bytes())  # noqa: S301 - our own
    Patient = patient_model()
    app = FastAPI()

    def answers(patients: list[Any]) -> list[dict[str, Any]]:
        rows = pd.DataFrame([p.model_dump() for p in patients], dtype=float)
        found = pipeline.predict_proba(rows)[:, 1].tolist()
        return [{"prediction": int(p >= 0.5), "probability": p} for p in found]

    def predict(patient: Patient) -> dict[str, Any]:  # type: ignore[valid-type]
        return answers([patient])[0]

    def predict_batch(patients: list[Patient]) -> list[dict[str, Any]]:  # type: ignore[valid-type]
        return answers(patients)

    for function in (predict, predict_batch):
        function.__annotations__.update(_resolved(Patient, function.__name__))
    app.post("/predict")(predict)
    app.post("/predict/batch")(predict_batch)
    uvicorn.run(app, host=HOST, port=port, log_level="warning")


def onnx(folder: Path, port: int) -> None:
    """FastAPI and uvicorn in one process, the ONNX graph, a coroutine for each request."""
    import uvicorn

    uvicorn.run(_onnx_app(folder), host=HOST, port=port, log_level="warning")


def plain_serve(folder: Path, port: int) -> None:
    """Ray Serve as its guide has it: FastAPI behind Serve's proxy, all else default."""
    import ray
    from ray import serve

    app = _onnx_app

    @serve.deployment
    @serve.ingress(lambda: app(folder))
    class Plain:
        pass

    ray.init(address="local", log_to_driver=False)
    serve.start(http_options={"host": HOST, "port": port})
    serve.run(Plain.bind())  # type: ignore[attr-defined]
    while True:
        time.sleep(10)


def mlflow(folder: Path, port: int) -> None:
    """``mlflow models serve`` with its scikit-learn flavour."""
    import mlflow.sklearn

    model = folder / "mlflow"
    if not model.exists():
        pipeline = pickle.loads((folder / "model.pickle").read_bytes())  # noqa: S301 - our own
        mlflow.sklearn.save_model(
            pipeline, str(model), pyfunc_predict_fn="predict_proba", serialization_format="pickle"
        )
    words = ["models", "serve", "-m", str(model), "-h", HOST, "-p", str(port), "--env-manager"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *words, "local"])  # noqa: S606


def bento(folder: Path, port: int) -> None:
    """BentoML, one worker, which may be installed in an environment of its own."""
    here = str(Path(__file__).parent)
    words = ["serve", "bento_service:Heart", "--working-dir", here, "--host", HOST]
    os.environ |= {"MODEL": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
    os.execvp("bentoml", ["bentoml", *words, "--port", str(port)])  # noqa: S606


def mlserver(folder: Path, port: int) -> None:
    """MLServer with its scikit-learn runtime, in this process as it recommends for one model."""
    settings = {"host": HOST, "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    model = {
        "name": "heart",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / "model.pickle")},
    }
    served = folder / "mlserver"
    served.mkdir(exist_ok=True)
    (served / "settings.json").write_text(json.dumps(settings | {"parallel_workers": 0}))
    (served / "model-settings.json").write_text(json.dumps(model))
    os.execvp("mlserver", ["mlserver", "start", str(served)])  # noqa: S606


RIVALS: Final[Mapping[str, Callable[[Path, int], None]]] = {
    "pickled": pickled,
    "onnx": onnx,
    "plain-serve": plain_serve,
    "mlflow": mlflow,
    "bentoml": bento,
    "mlserver": mlserver,
}


def _onnx_app(folder: Path) -> Any:
    import numpy as np
    import onnxruntime
    from fastapi import FastAPI

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    Patient = patient_model()
    app = FastAPI()

    def answers(patients: list[Any]) -> list[dict[str, Any]]:
        rows = np.array([list(p.model_dump().values()) for p in patients], dtype=np.float32)
        found = session.run(["probabilities"], {"attributes": rows})[0][:, 1].tolist()
        return [{"prediction": int(p >= 0.5), "probability": p} for p in found]

    async def predict(patient: Patient) -> dict[str, Any]:  # type: ignore[valid-type]
        return answers([patient])[0]

    async def predict_batch(patients: list[Patient]) -> list[dict[str, Any]]:  # type: ignore[valid-type]
        return answers(patients)

    for function in (predict, predict_batch):
        function.__annotations__.update(_resolved(Patient, function.__name__))
    app.post("/predict")(predict)
    app.post("/predict/batch")(predict_batch)
    return app


def _resolved(Patient: Any, name: str) -> dict[str, Any]:
    """The annotations that `from __future__ import annotations` has left as text."""
    found = {"patient": Patient} if name == "predict" else {"patients": list[Patient]}
    return {**found, "return": dict[str, Any] if name == "predict" else list[dict[str, Any]]}


def main() -> None:
    """Serve until ended."""
    name, folder, port = sys.argv[1:]
    RIVALS[name](Path(folder), int(port))


if __name__ == "__main__":
    main()
