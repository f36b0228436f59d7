"""Configurations: composed by Hydra, validated as a whole."""

from pathlib import Path


def conf_dir() -> Path:
    """Return the folder with ``train.yaml`` and its groups: inside an installed wheel, or at the repository's top."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "conf", package.parent / "conf"):
        if (place / "train.yaml").is_file():
            return place
    raise FileNotFoundError(f"no conf/ folder beside or inside {package}: install lesionseg again")
