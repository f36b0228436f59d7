from pathlib import Path

import pytest

import lesionseg.config as location


def test_the_repositorys_conf_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert location.conf_dir() == Path(__file__).resolve().parents[2] / "conf"


def test_a_conf_inside_the_package_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "site" / "lesionseg" / "config" / "__init__.py"
    for conf in (tmp_path / "site" / "conf", tmp_path / "site" / "lesionseg" / "conf"):
        conf.mkdir(parents=True)
        (conf / "train.yaml").touch()
        monkeypatch.setattr(location, "__file__", str(module))
        assert location.conf_dir() == conf


def test_a_broken_installation_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "__file__", str(tmp_path / "lesionseg" / "config" / "__init__.py"))
    with pytest.raises(FileNotFoundError) as caught:
        location.conf_dir()
    assert str(caught.value) == (f"no conf/ folder beside or inside {tmp_path}/lesionseg: install lesionseg again")
