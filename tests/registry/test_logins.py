"""Registry and Image with credentials: what login accepts is kept, and forgotten by logout."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests.images.trees import archive, entry
from tests.registry.servers import Authority
from tests.registry.tokens import PASSWORD, USER


@pytest.fixture
def own(tmp_path: Path) -> Iterator[pc.Engine]:
    with pc.Engine(root=tmp_path / "own") as own:
        yield own


def test_login_serves_push_and_pull_until_logout(
    secure_registry: str, authority: Authority, own: pc.Engine
) -> None:
    registry = pc.Registry(secure_registry, ca=authority.ca, engine=own)
    image = pc.Image.from_rootfs(io.BytesIO(archive((entry("f"), b"x"))), engine=own)
    target = f"{secure_registry}/kept/app:1"

    registry.login(USER, PASSWORD)
    digest = image.push(target, ca=authority.ca)

    kept = Path(own.root, "auth.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert pc.Image.pull(target, ca=authority.ca, engine=own).digest == digest
    assert registry.tags("kept/app") == ["1"]
    registry.logout()
    assert PASSWORD not in kept.read_text()
    with pytest.raises(pc.AuthenticationError, match="asks who you are") as caught:
        pc.Image.pull(target, ca=authority.ca, engine=own)
    assert "login" in (caught.value.hint or "")
    once = pc.Image.pull(target, auth=(USER, PASSWORD), ca=authority.ca, engine=own)
    assert once.digest == digest


def test_a_login_that_is_refused_is_not_kept(
    secure_registry: str, authority: Authority, own: pc.Engine
) -> None:
    registry = pc.Registry(secure_registry, ca=authority.ca, engine=own)

    with pytest.raises(pc.AuthenticationError):
        registry.login(USER, "wrong")

    assert not Path(own.root, "auth.json").exists()


def test_a_certificate_that_nobody_signed_is_refused(secure_registry: str, own: pc.Engine) -> None:
    with pytest.raises(pc.RegistryError) as caught:
        pc.Image.pull(f"{secure_registry}/app:1", engine=own)

    assert "ca=" in (caught.value.hint or "")


def test_a_token_server_is_asked_for_what_is_needed(token_registry: str, own: pc.Engine) -> None:
    image = pc.Image.from_rootfs(io.BytesIO(archive((entry("f"), b"token"))), engine=own)
    target = f"{token_registry}/team/tokens:1"

    digest = image.push(target, auth=(USER, PASSWORD))

    assert pc.Image.pull(target, auth=(USER, PASSWORD), engine=own).digest == digest
