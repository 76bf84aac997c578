"""`wherry init` as a function: what it makes, how it is protected, what it refuses."""

from pathlib import Path

import pytest
from wherry_controller import keyring, settings
from wherry_controller.founding import Charter, found
from wherry_controller.layout import DataDir
from wherry_protocol import trust
from wherry_protocol.errors import DecodeError, NotFoundError, StateError, TrustError, WherryError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import TrustRole

from tests.controller.world import START_S


def test_root_one_is_signed_and_names_every_role(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "x")
    made = found(data, Charter("acme", "ada", root_keys=3, root_threshold=2,
                               release_keys=2, release_threshold=2), START_S)  # fmt: skip
    state = trust.start("acme", (made.root,), int(START_S))
    assert state.role(TrustRole.ROOT).threshold == 2
    assert len(state.role(TrustRole.ROOT).keys) == 3
    assert state.role(TrustRole.RELEASE).threshold == 2
    director = keyring.load(data).director
    assert state.role(TrustRole.DIRECTOR).keys == (director.public,)


def test_everything_in_the_data_directory_is_private_to_its_owner(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "x")
    found(data, Charter("acme", "ada"), START_S)
    for path in (data.root, *data.root.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_offline_keys_are_locked_by_their_passphrase(tmp_path: Path) -> None:
    charter = Charter("acme", "ada", root_passphrase=b"one", release_passphrase=b"two")
    made = found(DataDir(tmp_path / "x"), charter, START_S)
    pem = made.root_key_files[0].read_bytes()
    with pytest.raises((TrustError, DecodeError)):
        SigningKey.from_pem(pem)
    assert SigningKey.from_pem(pem, b"one")
    assert SigningKey.from_pem(made.release_key_files[0].read_bytes(), b"two")


def test_a_second_organization_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "x")
    found(data, Charter("acme", "ada"), START_S)
    with pytest.raises(StateError, match="already holds an organization"):
        found(data, Charter("other", "eve"), START_S)


@pytest.mark.parametrize(("keys", "threshold"), [(1, 2), (0, 0), (17, 1), (2, 0)])
def test_an_impossible_threshold_is_refused(tmp_path: Path, keys: int, threshold: int) -> None:
    charter = Charter("acme", "ada", release_keys=keys, release_threshold=threshold)
    with pytest.raises(WherryError, match=f"{threshold} of {keys}"):
        found(DataDir(tmp_path / "x"), charter, START_S)
    assert not (tmp_path / "x").exists()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "x")
    found(data, Charter("acme", "ada"), START_S)
    (data.keys / keyring.DIRECTOR).chmod(0o644)
    with pytest.raises(TrustError, match="chmod 600"):
        keyring.load(data)


def test_the_director_key_may_come_from_a_systemd_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path / "x")
    found(data, Charter("acme", "ada"), START_S)
    public = keyring.load(data).director.public
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (data.keys / keyring.DIRECTOR).rename(credentials / keyring.DIRECTOR)
    with pytest.raises(NotFoundError):
        keyring.load(data)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert keyring.load(data).director.public == public


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("organization = 'acme'\n[http]\nprot = 1\n", "did you mean 'port'"),
        ("organization = 'acme'\n[http]\nport = 0\n", "must be in 1..65535"),
        ("organization = 'acme'\n[http]\nport = 'x'\n", "must be of type int"),
        ("organization = 'ACME'\n", "not allowed"),
        ("[http]\n", "organization must be a name"),
        ("organization = 'acme'\n[broker]\nprovisioning = 'magic'\n", "must be one of"),
        ("organization = \n", "not TOML"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "wherry.toml"
    path.write_text(text)
    with pytest.raises(WherryError, match=says) as error:
        settings.load(path)
    assert "\n" not in str(error.value)


def test_settings_survive_being_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "wherry.toml"
    given = settings.Settings("acme", http=settings.HttpSettings(port=9000))
    path.write_text(settings.to_toml(given))
    assert settings.load(path) == given
