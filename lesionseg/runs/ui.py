"""MLflow's pages on this machine. The story of ``lesionseg ui``."""

import os
import subprocess
import sys
from urllib.parse import quote

from lesionseg.config.schema import UiConfig
from lesionseg.runs.plan import store_of
from lesionseg.tracking import SWEEP_TAG


def ui(config: UiConfig) -> int:
    """Start MLflow's server on the loopback with one worker, print the address, and wait until it is stopped.

    Returns:
        0 once it was stopped, else the server's own exit code.

    Raises:
        InputError: the store cannot be opened.
    """
    store = store_of(config.tracking, config.paths, create=False)
    address = f"http://127.0.0.1:{config.port}"
    print(f"MLflow: {address}/{chart_page(store.experiment_id, config.sweep)}\nCtrl-C stops it.", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri]
    command += ["--host", "127.0.0.1", "--port", str(config.port), "--workers", "1"]
    calm = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, env={**os.environ, **calm})
    try:
        return server.wait()
    except (KeyboardInterrupt, SystemExit):
        server.terminate()
        server.wait()
        return 0


def chart_page(experiment_id: str, sweep: str | None) -> str:
    """The page that shows a sweep's runs, or all, as a flat list with charts: sorted by a metric, children are not
    folded away."""
    wanted = f"&searchFilter={quote(f'tags.`{SWEEP_TAG}` = {sweep!r}')}" if sweep else ""
    return (
        f"#/experiments/{experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"
        "&orderByKey=metrics.%60test%2Flesion_f1%60&orderByAsc=false" + wanted
    )
