"""What MLflow keeps beside parameters, metrics and files: data sets that a run read, models that it made."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONTEXT_TAG = "mlflow.data.context"
"""MLflow's tag of what a data set was read for."""
DIGEST_LENGTH = 36
"""MLflow's limit for the digest of a data set."""
MODEL_TYPE = "reid"


def log_dataset(client: MlflowClient, run_id: str, event: Mapping[str, Any]) -> None:
    """Log a data set as an input of a run.

    Args:
        client: of the store.
        run_id: of the run.
        event: name, digest, source, context and profile (counts).
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        event["name"],
        event["digest"][:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": event["source"]}),
        profile=json.dumps(event["profile"]),
    )
    tags = [InputTag(CONTEXT_TAG, event["context"])]
    client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def log_model(client: MlflowClient, experiment_id: str, run_id: str, path: Path, name: str) -> str:
    """Log a model folder as a logged model that a run has made.

    Args:
        client: of the store.
        experiment_id: of the run.
        run_id: of the run.
        path: the model folder.
        name: of the model.

    Returns:
        Its id.
    """
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, model_type=MODEL_TYPE)
    client.log_model_artifacts(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def register_model(client: MlflowClient, run_id: str, model_id: str, name: str) -> None:
    """Register a logged model as a new version of a registered model, which is made where it is missing.

    Args:
        client: of the store.
        run_id: of the run that made it.
        model_id: of the logged model.
        name: of the registered model.
    """
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # it exists
        client.create_registered_model(name)
    place = client.get_logged_model(model_id).artifact_location
    client.create_model_version(name, source=place, run_id=run_id, model_id=model_id)
