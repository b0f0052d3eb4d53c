"""Settings every test of the repository runs under."""

from __future__ import annotations

import os

import pytest

# Before torch, NumPy or OpenCV are imported: two workers with one thread each beat one pool fighting another.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # pragma: no cover - a member's own environment may lack the test tools
    pass
else:
    # No deadline: a shared CI machine stalls for reasons that are no property of the code.
    settings.register_profile(
        "repository", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("repository")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A file whose tests are all slow has passed where those are left out: Pants runs file by file."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    nothing = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not session.config.option.keyword
    if nothing and reporter and reporter.stats.get("deselected"):
        session.exitstatus = pytest.ExitCode.OK
