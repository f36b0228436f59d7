"""Which programs made something."""

import platform
from importlib.metadata import version

_PACKAGES = ("lesionseg", "torch", "pytorch-lightning", "mlflow", "numpy", "scipy", "statsmodels")


def versions() -> dict[str, str]:
    """Name to version, of Python and of the libraries that numbers depend on, as they are installed here."""
    return {"Python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
