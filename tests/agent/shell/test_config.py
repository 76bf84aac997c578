"""agent.toml: bounded, refused by name, one sentence per mistake."""

import dataclasses
from pathlib import Path

import pytest
from wherry_agent.config import Config, ConfigError, parse_config, read_config

STATE = 'state_dir = "state"\n'


def test_a_file_with_only_a_state_folder_has_safe_defaults():
    config = parse_config(STATE, Path("/etc/wherry"))
    assert config.state_dir == Path("/etc/wherry/state")
    assert config.http.host == "127.0.0.1"
    assert config.source == ()
    assert config.energy.source == "auto"


def test_every_table_is_read():
    config = parse_config(
        STATE
        + """
        [http]
        port = 0
        [limits]
        queue_capacity = 7
        [energy]
        source = "hwmon"
        hwmon_root = "/tmp/tree"
        uncertainty = 0.01
        [way_back]
        error_rate_max = 0.05
        windows_min = 1
        [[source]]
        model = "digits"
        path = "digits.bin"
        period_ms = 20
        [[unit]]
        name = "mcu1"
        port = "/dev/ttyACM0"
        """,
        Path("/etc"),
    )
    assert config.http.port == 0
    assert config.limits.queue_capacity == 7
    assert config.energy.hwmon_root == Path("/tmp/tree")
    assert config.energy.uncertainty == 0.01
    assert (config.way_back.error_rate_max, config.way_back.windows_min) == (0.05, 1)
    assert (config.way_back.samples_min, config.way_back.window_s) == (20, 30.0)
    assert config.source[0].path == Path("/etc/digits.bin")
    assert config.source[0].period_ms == 20.0
    assert config.unit[0].baud == 115_200


MISTAKES = [
    ("", "state_dir is missing"),
    ("state_dir = 3", "state_dir = 3 must be text"),
    (STATE + "stat_dir = 'x'", "stat_dir is not a known key, did you mean state_dir?"),
    (STATE + "[http]\nprot = 1", "http.prot is not a known key, did you mean http.port?"),
    (STATE + "[http]\nport = 70000", "http.port = 70000 is out of its limits 0..65535"),
    (STATE + "[http]\nport = true", "http.port = True must be a whole number"),
    (STATE + "[http]\nport = 1.5", "http.port = 1.5 must be a whole number"),
    (
        STATE + "[way_back]\nerror_rate_max = 10",
        "way_back.error_rate_max = 10 is out of",
    ),
    (STATE + "[way_back]\nwindows_min = 0", "way_back.windows_min = 0 is out of its limits"),
    (STATE + "http = 3", "http = 3 must be a table"),
    (STATE + "[http]\nenabled = 1", "http.enabled = 1 must be true or false"),
    (STATE + "[http]\nrequest_s_max = nan", "http.request_s_max = nan must be a number"),
    (STATE + "[energy]\nsource = 'sun'", "energy.source = 'sun' must be one of auto, hwmon"),
    (STATE + "[[source]]\nmodel = 'a'", "source[0].path is missing"),
    (STATE + "[[source]]\nmodel = '../a'\npath = 'x'", "source[0].model = '../a' is no model"),
    (STATE + "[source]\nmodel = 'a'", "source must be written as [[source]] tables"),
    (STATE + "[[unit]]\nname = 'self'\nport = 'x'", "unit 'self' is the agent itself"),
    (STATE + "[[unit]]\nname = 'a'\nport = 'x'\n" * 2, "unit 'a' is there 2 times"),
    (STATE + "[[source]]\nmodel = 'a'\npath = 'x'\n" * 2, "source for 'self/a' is there 2 times"),
    (STATE + "[[source]]\nunit = 'm'\nmodel = 'a'\npath = 'x'", "there is no such [[unit]]"),
    (STATE + "[link]\nreconnect_s_min = 300", "link.reconnect_s_min = 300.0 is above"),
    (STATE + "[limits]\nspool_bytes_max = 999999999", "is above limits.storage_bytes_max"),
    ("state_dir = ", "this is not TOML"),
    (STATE * 2, "this is not TOML"),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES)
def test_a_mistake_is_named_in_one_sentence_with_its_key_and_limit(tmp_path, text, sentence):
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_file_that_cannot_be_read_is_a_mistake_too(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"state_dir = '\xe9'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "latin.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * (300 * 1024))
    with pytest.raises(ConfigError, match="larger than 262144 bytes"):
        read_config(tmp_path / "huge.toml")


def test_every_key_has_a_check():
    def fields_of(cls):
        for field in dataclasses.fields(cls):
            yield cls, field
            if dataclasses.is_dataclass(field.default):
                yield from fields_of(type(field.default))

    for cls, field in fields_of(Config):
        assert callable(field.metadata.get("check")), f"{cls.__name__}.{field.name}"
