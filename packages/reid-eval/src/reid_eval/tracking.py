"""Results in MLflow (extra `mlflow`): metrics, figures, the report, and what was evaluated, by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from reid_eval.evaluation import Result

DIGEST_LENGTH = 36
"""Most characters that MLflow keeps of a data set's digest."""


def log_result(
    result: Result,
    *,
    prefix: str = "",
    figures: Mapping[str, Figure] | None = None,
    report: str | Path | None = None,
    dataset: pd.DataFrame | None = None,
    dataset_name: str = "evaluation",
) -> None:
    """Log a result to MLflow's active run, or to a new one where none is active, as MLflow itself does.

    Metrics are `PREFIX/mAP`, `PREFIX/rank_1`, `PREFIX/tar_1e-4`, ...; figures lie in `figures/PREFIX/` and
    the report at the top of the run's artifacts, where the UI shows it.

    Args:
        result: of `evaluate`.
        prefix: image, video, mix, ...: groups the metrics in the UI; may be empty.
        figures: from a file's name without its ending to a figure of `reid_eval.figures`.
        report: file that `write_report` wrote.
        dataset: the manifest's rows of what was evaluated; logged as an input with its `digest`.
        dataset_name: what the UI calls it.

    Raises:
        ImportError: MLflow is not installed.
        FileNotFoundError: no such report.
        ValueError: a prefix or a figure's name that is no plain name.

    Example:
        >>> import mlflow
        >>> from reid_eval import evaluate
        >>> from reid_eval.figures import cmc_figure
        >>> result = evaluate(features, features, pids, pids, query_cams, gallery_cams)  # doctest: +SKIP
        >>> with mlflow.start_run():  # doctest: +SKIP
        ...     log_result(result, prefix="image", figures={"cmc": cmc_figure({"image": result})})
    """
    try:
        import mlflow
    except ImportError as error:
        raise ImportError("log_result needs MLflow: pip install mlflow") from error
    for name in (prefix, *(figures or {})):
        if "/" in name or "\\" in name or name.startswith("."):
            raise ValueError(
                f"{name!r} names a metric group or a file: give it without slashes and leading dots"
            )
    if report is not None and not Path(report).is_file():
        raise FileNotFoundError(f"report={report}: no such file; write it with write_report first")

    group = f"{prefix}/" if prefix else ""
    summary = result.summary()
    numbers = {name: float(value) for name, value in summary.items() if not isinstance(value, str)}
    mlflow.log_metrics({f"{group}{name}": value for name, value in numbers.items()})
    mlflow.set_tags({f"{group}{name}": value for name, value in summary.items() if name not in numbers})
    for name, figure in (figures or {}).items():
        mlflow.log_figure(figure, f"figures/{group}{name}.png")
    if report is not None:
        mlflow.log_artifact(str(report))
    if dataset is not None:
        from mlflow.data.pandas_dataset import from_pandas

        rows = from_pandas(dataset, name=dataset_name, digest=digest(dataset)[:DIGEST_LENGTH])
        mlflow.log_input(rows, context="evaluation")


def digest(table: pd.DataFrame) -> str:
    """sha256 of a table's columns and rows in their order, as 64 hexadecimal digits; its index doesn't count.

    Args:
        table: such as a manifest's rows.

    Example:
        >>> table = pd.DataFrame({"path": ["a", "b"], "pid": [1, 2]})
        >>> digest(table) == digest(table.set_index([[5, 6]])), digest(table) == digest(table[::-1])
        (True, False)
    """
    state = hashlib.sha256("\0".join(map(str, table.columns)).encode())
    state.update(pd.util.hash_pandas_object(table, index=False).to_numpy("<u8").tobytes())
    return state.hexdigest()
