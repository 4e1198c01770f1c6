"""The five events that an Azure ML workspace raises.

`run_status_changed` carries the drift signal of today's model monitoring too, as a tag of the monitor's run;
`dataset_drift_detected` is that of the older dataset monitors.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.samples.events import Element, Stamp, draw_id, envelope, keys_as, write_time

PREFIX = "Microsoft.MachineLearningServices."
TYPES = tuple(
    PREFIX + name
    for name in (
        "ModelRegistered",
        "ModelDeployed",
        "RunCompleted",
        "RunStatusChanged",
        "DatasetDriftDetected",
    )
)
BREACH_TAG = "azureml_modelmonitor_threshold_breached"
BREACH_TEXT = "has failed due to one or more features violating metric thresholds"

_ALGORITHMS = ("LightGBM", "LassoLars", "ElasticNet", "RandomForest", "XGBoostRegressor")
_SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")


@dataclass(frozen=True, slots=True)
class Run:
    """A training run, as far as its events tell."""

    run_id: str
    experiment_id: str
    experiment_name: str
    run_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    """Values are texts, of which some hold JSON."""


@dataclass(frozen=True, slots=True)
class DriftWindow:
    """What a dataset monitor looked at, and what it found."""

    run_id: str
    coefficient: float
    """0 to 1."""
    start_ticks: int
    end_ticks: int


def draw_run(rng: random.Random) -> Run:
    """Draw a run of automated ML, a pipeline step or a script."""
    run_type = rng.choice((None, "automl", "azureml.scriptrun", "azureml.StepRun"))
    guid = draw_id(rng)
    run_id = f"AutoML_{guid}_{rng.randrange(60)}" if run_type in (None, "automl") else guid
    algorithm, scaler = rng.choice(_ALGORITHMS), rng.choice(_SCALERS)
    spec = {
        "objects": [
            {"class_name": scaler, "module": "sklearn.preprocessing", "param_kwargs": {"with_mean": True}},
            {"class_name": algorithm, "param_kwargs": {"alpha": round(rng.random(), 6)}},
        ],
        "pipeline_id": f"{rng.getrandbits(160):040x}",
    }
    properties = {
        "runTemplate": "automl_child",
        "pipeline_id": spec["pipeline_id"],
        "pipeline_spec": json.dumps(spec),
        "training_percent": "100",
        "predicted_cost": repr(rng.random()),
        "run_algorithm": algorithm,
        "model_data_location": f"aml://artifact/ExperimentRun/dcid.{run_id}/outputs/model.pkl",
    }
    tags = {"Owner": rng.choice(("lena", "omar", "mei")), "costCentre": str(rng.randrange(1_000, 9_999))}
    return Run(
        run_id,
        draw_id(rng),
        rng.choice(("churn-train", "demand-forecast", "fraud-nightly", "automl-local-regression")),
        run_type,
        tags if rng.random() < 0.7 else {},
        {key: str(value) for key, value in properties.items()},
    )


def model_registered(
    stamp: Stamp, name: str, version: int | str, *, tags: Mapping[str, str], properties: Mapping[str, str]
) -> Element:
    """A model, or a new version of one, was registered."""
    style = stamp.style
    data = {
        "modelName": name,
        "modelVersion": str(version) if style.is_version_text else version,
        "modelTags": dict(tags),
        "modelProperties": dict(properties),
    }
    return envelope(stamp, f"{PREFIX}ModelRegistered", f"models/{name}:{version}", keys_as(style, data))


def model_deployed(
    stamp: Stamp, service: str, model_ids: Sequence[str], *, tags: Mapping[str, str], compute: str = "AKS"
) -> Element:
    """Models were deployed to an endpoint. `model_ids` are ``name:version``."""
    data = {
        "serviceName": service,
        "serviceComputeType": compute,
        "modelIds": ",".join(model_ids),
        "serviceTags": dict(tags),
        "serviceProperties": {"hasInferenceSchema": "True", "hasHttps": "True", "authEnabled": "True"},
    }
    return envelope(stamp, f"{PREFIX}ModelDeployed", f"endpoints/{service}", keys_as(stamp.style, data))


def run_completed(stamp: Stamp, run: Run) -> Element:
    """A run has ended well."""
    data = _run_data(stamp, run)
    return envelope(stamp, f"{PREFIX}RunCompleted", _run_subject(run), data)


def run_status_changed(stamp: Stamp, run: Run, status: str) -> Element:
    """A run is in another state. Azure writes ``failed`` and ``Failed``."""
    data = _run_data(stamp, run) | {"runStatus": status}
    return envelope(stamp, f"{PREFIX}RunStatusChanged", _run_subject(run), data)


def _run_subject(run: Run) -> str:
    return f"experiments/{run.experiment_id}/runs/{run.run_id}"


def _run_data(stamp: Stamp, run: Run) -> dict[str, object]:
    # Captured run events mix the case within one object: RunTags beside runProperties.
    tags = "RunTags" if stamp.style.is_pascal else "runTags"
    return {
        "experimentId": run.experiment_id,
        "experimentName": run.experiment_name,
        "runId": run.run_id,
        "runType": run.run_type,
        tags: dict(run.tags),
        "runProperties": dict(run.properties),
    }


def dataset_drift_detected(
    stamp: Stamp, drift_id: str, name: str, window: DriftWindow, datasets: tuple[str, str]
) -> Element:
    """A dataset monitor found drift. `datasets` are the ids of the base and the target."""
    data = {
        "dataDriftId": drift_id,
        "dataDriftName": name,
        "runId": window.run_id,
        "baseDatasetId": datasets[0],
        "targetDatasetId": datasets[1],
        "driftCoefficient": window.coefficient,
        "startTime": write_time(window.start_ticks, stamp.style),
        "endTime": write_time(window.end_ticks, stamp.style),
    }
    subject = f"datadrift/{drift_id}/run/{window.run_id}"
    return envelope(stamp, f"{PREFIX}DatasetDriftDetected", subject, keys_as(stamp.style, data))
