import tomllib
from pathlib import Path

import pytest

import config
from config import Config, ConfigError, PathSettings


def test_the_shipped_file_shows_every_setting_with_its_default() -> None:
    shipped = tomllib.loads(config.DEFAULT_PATH.read_text())
    defaults = Config().model_dump(mode="json")
    assert shipped == defaults


def test_an_empty_file_is_all_defaults_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("")
    loaded = config.load(tmp_path / "c.toml")
    assert loaded.model == Config().model
    assert loaded.paths == PathSettings(data=tmp_path / "data", personas=tmp_path / "personas")
    assert loaded.database_file == tmp_path / "data" / "troupe.sqlite3"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[model\n", "is not valid TOML"),
        ("[model]\nqantization = '4bit'", "known setting; did you mean model.quantization?"),
        ("[modle]\n", "modle is not a known setting; did you mean model?"),
        ("[zzz]\n", "zzz is not a known setting."),
        ("[model]\nbase = 3", "model.base = 3 is not usable"),
        ("[model]\nquantization = '3bit'", "model.quantization = '3bit' is not usable"),
        ("[model]\ndevice = 'tpu'", "model.device = 'tpu' is not usable"),
        ("[inference]\nqueue_size = 0", "inference.queue_size = 0 is not usable"),
        ("[inference]\nqueue_size = true", "inference.queue_size = True is not usable"),
        ("[log]\nmessages = 'yes'", "log.messages = 'yes' is not usable"),
        ("model = 3", "model = 3 is not usable"),
        ("model = 3", "it must be a section, which begins with the line [model]"),
        ("[paths]\ndata = 3", "paths.data = 3 is not usable: it must be a text with a path"),
        ("[inference]\ndevices = ['gpu']", 'must be "auto", "cpu", "mps", "cuda"'),
        ("[remote]\nurls = ['localhost']", "it must be an address such as http://"),
        ("[database]\nbusy_timeout_seconds = inf", "should be a finite number"),
        ("[finetune]\nlearning_rate = nan", "should be a finite number"),
        ("[database]\nfile = ''", "must be a file's name"),
        ("[database]\nfile = '../x.sqlite3'", "must be a file's name without a folder"),
        ('[database]\nfile = "a\\u0000b"', "must be a file's name"),
        ("[sampling]\ntemperature = 9", "sampling.temperature = 9 is not usable"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_and_key(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*none\.toml"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        config.load(tmp_path / "latin.toml")


def test_files_of_the_retraining_lie_beside_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[retrain]\nsuite = "probes.jsonl"\nreplay = "old.jsonl"\n')
    assert config.load(file).retrain.suite == "probes.jsonl"  # which may be a shipped one
    (tmp_path / "probes.jsonl").touch()
    retrain = config.load(file).retrain
    assert retrain.suite == str(tmp_path / "probes.jsonl")
    assert retrain.replay == str(tmp_path / "old.jsonl")
