"""`wherry root`: the next root is drafted, signed by enough keys, and published."""

from pathlib import Path

from wherry_controller import succession
from wherry_protocol import trust
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import TrustRole

from tests.cli.door import Service, wherry
from tests.controller.live import wait_for


def drafted(service: Service, folder: Path, *options: str | Path) -> Path:
    output = folder / "next.cose"
    made = wherry("root", "draft", "--after", service.data / "roots" / "1.cose",
                  "--output", output, *options)  # fmt: skip
    assert made.status == 0, made
    return output


def first_key(service: Service) -> SigningKey:
    return SigningKey.from_pem((service.data / "offline" / "root-1.pem").read_bytes())


def test_a_root_is_renewed_and_every_device_follows(service: Service, tmp_path: Path) -> None:
    root = drafted(service, tmp_path, "--days", "30")
    service_key = service.data / "offline" / "root-1.pem"
    signed = wherry("root", "sign", root, "--key", service_key)
    assert "signed by 1 of 1" in signed.out
    first = (service.data / "roots" / "1.cose").read_bytes()
    after = trust.advance(trust.start("acme", (first,)), root.read_bytes()).root
    assert (after.number, after.epoch) == (2, 1)
    assert after.expires_s - after.issued_s == 30 * 86_400
    assert after.roles == succession.content(first).roles
    assert service.ok("root", "publish", root) == {"number": 2}
    topic, told = "wherry/1/acme/trust/root/2", service.wire.retained
    wait_for(lambda: told.get(topic) == root.read_bytes(), "devices are told")
    assert "root.publish" in {row["action"] for row in service.ok("audit", "log")}


def test_the_newest_root_is_what_the_doctor_and_verify_look_at(
    service: Service, tmp_path: Path
) -> None:
    """They looked at the first one, which had ended whatever was published after it."""
    root = drafted(service, tmp_path, "--days", "20")
    wherry("root", "sign", root, "--key", service.data / "offline" / "root-1.pem")
    assert "root 1 is valid for 365 days" in service.wherry("doctor").out
    service.ok("root", "publish", root)
    told = service.wherry("doctor").out
    assert "root 2 is valid for 20 days; sign and publish the next one" in told
    (service.data / "keys" / "director.pem").write_bytes(SigningKey.generate().to_pem())
    assert "root 2 does not name the director's key" in service.wherry("doctor").out


def test_a_root_without_signatures_or_of_a_stranger_is_refused(
    service: Service, tmp_path: Path
) -> None:
    root = drafted(service, tmp_path)
    assert service.wherry("root", "publish", root).status == 10
    (tmp_path / "stranger.pem").write_bytes(SigningKey.generate().to_pem())
    refused = wherry("root", "sign", root, "--key", tmp_path / "stranger.pem")
    assert (refused.status, "none of the 1 root keys" in refused.err) == (11, True)
    alone = succession.sign(root.read_bytes(), first_key(service))
    assert succession.sign(alone, first_key(service)) == alone, "a key counts once"
    refused = wherry("root", "draft", "--after", tmp_path / "stranger.pem", "--output",
                     tmp_path / "never.cose", "--director", tmp_path / "never.pem")  # fmt: skip
    assert refused.status != 0
    assert not (tmp_path / "never.cose").exists()
    assert not (tmp_path / "never.pem").exists(), "no key is made for a root that cannot follow"


def test_another_director_and_a_new_epoch_are_named_and_not_taken_without_its_key(
    service: Service, tmp_path: Path
) -> None:
    director = tmp_path / "director.pem"
    root = drafted(service, tmp_path, "--director", director, "--new-epoch")
    assert director.stat().st_mode & 0o077 == 0
    content = succession.content(root.read_bytes())
    assert content.epoch == 2
    assert content.roles[TrustRole.DIRECTOR].keys == (
        SigningKey.from_pem(director.read_bytes()).public,
    )
    wherry("root", "sign", root, "--key", service.data / "offline" / "root-1.pem")
    refused = service.wherry("root", "publish", root)
    assert refused.status != 0
    assert "install the new director key first" in refused.err
    before = director.read_bytes()
    drafted(service, tmp_path, "--director", director)
    assert director.read_bytes() == before, "a key that is there is taken, not made anew"


def test_a_director_key_that_is_made_anew_is_said_and_one_that_is_none_is_named(
    service: Service, tmp_path: Path
) -> None:
    director, output = tmp_path / "director.pem", tmp_path / "next.cose"
    command = ("root", "draft", "--after", service.data / "roots" / "1.cose",
               "--output", output, "--director", director)  # fmt: skip
    assert f"{director}: a new director key" in wherry(*command).out
    assert "a new director key" not in wherry(*command).out
    assert wherry(*command, "--json").json["made_director_key"] is False
    director.write_text("no key")
    refused = wherry(*command)
    assert refused.status != 0
    assert str(director) in refused.err
