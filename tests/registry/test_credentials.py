"""Credentials: our own file, other tools' files, helper programs; challenges and addresses."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.errors import AuthenticationError, InvalidArgument, RegistryError, StoreError
from pycontainers.registry.addresses import followed, is_loopback, origin, registry_address
from pycontainers.registry.auth import parse_challenges
from pycontainers.registry.credentials import Credentials, CredentialStore

ANNA = Credentials("anna", "s3cret:with colon")


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def store(tmp_path: Path) -> CredentialStore:
    return CredentialStore(tmp_path / "root" / "auth.json")


def written(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The helper `test`, which keeps secrets as files in a directory."""
    directory = tmp_path / "helper"
    directory.mkdir()
    program = directory / "docker-credential-test"
    program.write_text(
        "#!/usr/bin/python3\n"
        "import json, os, sys\n"
        "request = sys.stdin.read()\n"
        f"place = lambda name: os.path.join({str(directory)!r}, name.replace('/', '_') + '.json')\n"
        "if sys.argv[1] == 'store':\n"
        "    open(place(json.loads(request)['ServerURL']), 'w').write(request)\n"
        "elif sys.argv[1] == 'erase':\n"
        "    os.unlink(place(request))\n"
        "elif os.path.exists(place(request)):\n"
        "    print(open(place(request)).read())\n"
        "else:\n"
        "    print('credentials not found in native keychain')\n"
        "    sys.exit(1)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def test_what_is_stored_is_found_until_it_is_erased(store: CredentialStore) -> None:
    store.store("localhost:5000", ANNA)
    store.store("docker.io", Credentials("ben", "", "identity"))

    found = store.find("localhost:5000", "a/b")
    hub = store.find("docker.io", "library/debian")
    store.erase("localhost:5000")
    store.erase("nowhere")

    assert found == ANNA
    assert hub == Credentials("ben", "", "identity")
    assert store.find("localhost:5000", "a/b") is None and store.find("localhost") is None


def test_our_file_is_for_its_owner_only(store: CredentialStore) -> None:
    before = os.umask(0)
    try:
        store.store("localhost", ANNA)
    finally:
        os.umask(before)

    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in store.path.parent.iterdir()) == [
        "auth.json",
        "auth.json.lock",
    ]


def test_nothing_shows_a_password() -> None:
    assert "s3cret" not in repr(ANNA)
    assert "identity" not in repr(Credentials("a", "", "identity"))


def test_two_at_once_lose_nothing(store: CredentialStore) -> None:
    threads = [
        threading.Thread(target=store.store, args=(f"host{number}", ANNA)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(store.find(f"host{number}") == ANNA for number in range(8))


def test_unknown_entries_are_kept(store: CredentialStore) -> None:
    written(store.path, {"auths": {"other": {"auth": "", "x": 1}}, "more": [1]})

    store.store("localhost", ANNA)

    document = json.loads(store.path.read_text())
    assert document["more"] == [1] and document["auths"]["other"] == {"auth": "", "x": 1}


@pytest.mark.parametrize(
    ("name", "variable"),
    [("home/.docker/config.json", None), ("home/.config/containers/auth.json", None),
     ("docker/config.json", "DOCKER_CONFIG"), ("run/containers/auth.json", "XDG_RUNTIME_DIR")],
)  # fmt: skip
def test_files_of_other_tools_are_read(
    store: CredentialStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    variable: str | None,
) -> None:
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / name.split("/", maxsplit=1)[0]))
    path = written(tmp_path / name, {"auths": {"https://localhost:5000/v1/": entry("ben", "x")}})
    before = path.read_bytes()

    assert store.find("localhost:5000", "a/b") == Credentials("ben", "x")
    store.store("localhost:5000", ANNA)

    assert store.find("localhost:5000", "a/b") == ANNA
    assert path.read_bytes() == before


def test_the_most_specific_entry_counts(store: CredentialStore) -> None:
    auths = {
        "host": entry("all", "x"),
        "host/team": entry("team", "x"),
        "host/te": entry("no", "x"),
    }
    written(store.path, {"auths": auths})

    users = {name: store.find("host", name) for name in ("team/app", "team", "teams/app", "x")}

    assert {name: found and found.user for name, found in users.items()} == {
        "team/app": "team", "team": "team", "teams/app": "all", "x": "all",
    }  # fmt: skip


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"]
)
def test_docker_hub_has_many_names(store: CredentialStore, key: str) -> None:
    written(store.path, {"auths": {key: entry("ben", "x")}})

    assert store.find("docker.io", "library/debian") == Credentials("ben", "x")


@pytest.mark.parametrize("setting", [{"credsStore": "test"}, {"credHelpers": {"host:1": "test"}}])
def test_a_helper_keeps_what_it_is_set_up_for(
    store: CredentialStore, tmp_path: Path, helper: Path, setting: dict[str, object]
) -> None:
    written(tmp_path / "home/.docker/config.json", setting)

    store.store("host:1", ANNA)
    found = store.find("host:1")
    kept = sorted(path.name for path in helper.glob("*.json"))
    store.erase("host:1")

    assert found == ANNA and kept == ["host:1.json"]
    assert store.find("host:1") is None
    assert not store.path.exists()


def test_an_identity_token_goes_through_a_helper(
    store: CredentialStore, tmp_path: Path, helper: Path
) -> None:
    written(tmp_path / "home/.docker/config.json", {"credsStore": "test"})

    store.store("docker.io", Credentials("<token>", "", "identity"))

    assert store.find("docker.io") == Credentials("<token>", "", "identity")
    assert [path.name for path in helper.glob("*.json")] == ["https:__index.docker.io_v1_.json"]


@pytest.mark.parametrize("name", ["missing", "../../bin/sh", "-x"])
def test_a_helper_that_is_not_there_is_named(
    store: CredentialStore, tmp_path: Path, name: str
) -> None:
    written(tmp_path / "home/.docker/config.json", {"credHelpers": {"host": name}})

    with pytest.raises(AuthenticationError, match=f"docker-credential-{name}"):
        store.find("host")


@pytest.mark.parametrize(
    "script", ["echo nonsense", "echo '[]'", "cat /dev/zero", "exit 3", "kill $$"]
)
def test_a_helper_that_fails_is_named(
    store: CredentialStore, tmp_path: Path, helper: Path, script: str
) -> None:
    written(tmp_path / "home/.docker/config.json", {"credsStore": "test"})
    (helper / "docker-credential-test").write_text(f"#!/bin/sh\n{script}\n")

    with pytest.raises(AuthenticationError, match="docker-credential-test"):
        store.find("host")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, " " * (2 << 20), '{"auths":{"host":{"auth":"*"}}}',
             '{"auths":{"host":{"auth":"YQA6Yg=="}}}'],
)  # fmt: skip
def test_a_file_that_can_not_be_read_is_named(store: CredentialStore, text: str) -> None:
    store.path.parent.mkdir()
    store.path.write_text(text)

    with pytest.raises(StoreError, match=r"auth\.json"):
        store.find("host")


def test_strange_tables_hold_nothing(store: CredentialStore) -> None:
    tables: tuple[object, ...] = (None, [], {"host": None}, {"host": {"auth": 5}}, {"host": {}})
    for auths in tables:
        written(store.path, {"auths": auths, "credHelpers": 5, "credsStore": []})
        assert store.find("host") is None


@pytest.mark.parametrize(("user", "password"), [("a:b", "x"), ("a\n", "x"), ("a", "x\r\ny")])
def test_credentials_that_can_not_be_sent_are_refused(user: str, password: str) -> None:
    with pytest.raises(InvalidArgument):
        Credentials(user, password)


def test_challenges_are_read() -> None:
    header = 'Basic realm="a, b", Bearer realm="https://x/t?y=\\"1\\"",service=s,SCOPE="a:b:c"'

    basic, bearer = parse_challenges(header)

    assert (basic.scheme, basic.parameters) == ("basic", {"realm": "a, b"})
    assert (bearer.scheme, bearer.parameters) == (
        "bearer",
        {"realm": 'https://x/t?y="1"', "service": "s", "scope": "a:b:c"},
    )


@given(st.text() | st.text(alphabet='Basic rlm="\\\\,= \t'))
def test_any_challenge_is_read_without_an_error(header: str) -> None:
    assert len(parse_challenges(header)) <= 8192


WORD = st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=9)


@given(WORD, st.dictionaries(WORD.map(str.lower), st.text('abc,= \\"', max_size=9), max_size=4))
def test_quoted_challenges_come_back(scheme: str, parameters: dict[str, str]) -> None:
    quoted = {
        name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()
    }
    header = f"{scheme} " + ", ".join(f'{name}="{value}"' for name, value in quoted.items())

    (found,) = parse_challenges(header)

    assert (found.scheme, found.parameters) == (scheme.lower(), parameters)


@given(st.text(max_size=80))
def test_a_location_leads_to_the_web_or_nowhere(location: str) -> None:
    try:
        target = followed("https://host:5000/v2/a", location, insecure=False)
    except RegistryError:
        return

    assert origin(target)[0] == "https" and origin(target)[1] and target.isprintable()


@given(st.text(max_size=40))
def test_any_registry_is_an_address_or_refused(registry: str) -> None:
    try:
        scheme, host, path = registry_address(registry)
    except InvalidArgument:
        return

    assert scheme in (None, "http", "https") and host
    assert origin(f"https://{host}{path}/v2/")[1]


def test_only_this_machine_is_loopback() -> None:
    ours = ("localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000")
    others = ("127.0.0.1.evil.test", "localhost.evil.test", "1270.0.0.1", "10.0.0.1", "127.1", "")

    assert all(is_loopback(host) for host in ours)
    assert not any(is_loopback(host) for host in others)
