"""The telemetry switches of every dependency, all off unless the user set them otherwise."""

import os

SWITCHES = {
    # Shared by Prefect, MLflow and Evidently; MLflow compares with the word "true".
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
}


def switch_off() -> None:
    """Set every switch in this process's environment, and so in its children's."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
