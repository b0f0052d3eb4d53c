"""Where MLflow's pages show a tracked run."""

from reid_core.tracking import Tracker
from reid_core.tracking.links import describe_page


def test_a_tracked_run_has_a_page_that_opens_on_trainings(tmp_path):
    folder, uri = tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db"
    with Tracker.start("some_people", "first", folder, tracking_uri=uri) as run:
        run.metrics({"loss": 1.0}, step=0)
    page = describe_page(folder, uri)
    assert page.startswith(
        f"mlflow ui --app-name reid --backend-store-uri {uri}, then http://127.0.0.1:5000/#/"
    )
    assert page.endswith("/runs?workflowType=machine_learning")
    assert describe_page(folder, "http://user:secret@elsewhere") == ""
