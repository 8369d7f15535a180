"""The running machine's own programs as an image: one small generated layer, and mounts of /usr.

The layer holds what is around them: links as /bin, an /etc of chosen files, empty directories.  It
is made again when one of those files has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontainers.errors import StoreError
from pycontainers.storage.scratch import new_directory, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMAT: Final = b"1"
_TOP: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_EMPTY: Final = {
    "dev": 0o755,
    "home": 0o755,
    "mnt": 0o755,
    "opt": 0o755,
    "proc": 0o755,
    "root": 0o755,
    "run": 0o755,
    "srv": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/log": 0o755,
    "var/tmp": 0o1777,
}
# Chosen one by one: programs need these, and none holds a secret.
_ETC: Final = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "ethertypes",
    "gai.conf",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "magic.mime",
    "mime.types",
    "networks",
    "nsswitch.conf",
    "os-release",
    "profile",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "rpc",
    "services",
    "shells",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
_WRITTEN: Final = {
    "passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "resolv.conf": "",
}


def trees() -> tuple[tuple[str, str], ...]:
    """Give (source, target) of the host's directories that the image shows: /usr, the Python."""
    wanted = ["/usr", *(f"/{name}" for name in _TOP if _is_own_directory(Path("/", name)))]
    for prefix in (sys.prefix, sys.base_prefix):
        path = os.path.realpath(prefix)
        inside = any(path == tree or path.startswith(f"{tree}/") for tree in wanted)
        if not inside and path != "/":
            wanted.append(path)
    return tuple((path, path) for path in wanted)


def search_path() -> str:
    """Give the PATH of the image: the running Python's programs first."""
    own = [f"{os.path.realpath(prefix)}/bin" for prefix in (sys.prefix, sys.base_prefix)]
    usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return ":".join(dict.fromkeys([*own, *usual]))


def make_layer(layers: Path) -> Path:
    """Give the generated layer, made below `layers` where it is missing; raises StoreError."""
    path = layers / f"host-{_key()}"
    if path.exists():
        return path
    try:
        with scratch(layers) as making:
            _fill(making)
            making.rename(path)
    except OSError as error:
        if not path.exists():  # else another process was faster
            raise StoreError(f"cannot make the layer {path}: {error}") from error
    return path


def _fill(root: Path) -> None:
    for name, mode in _EMPTY.items():
        new_directory(root / name, mode)
    for name in _TOP:
        original = Path("/", name)
        if original.is_symlink():
            (root / name).symlink_to(original.readlink())
        elif original.is_dir():
            (root / name).mkdir()
    for source, _ in trees():
        (root / source.lstrip("/")).mkdir(parents=True, exist_ok=True)
    etc = root / "etc"
    etc.mkdir()
    for original in _etc_entries():
        _copy(original, etc / original.relative_to("/etc"))
    for name, text in _WRITTEN.items():
        (etc / name).write_text(text)


def _copy(original: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if original.is_symlink():
        target.symlink_to(original.readlink())
    elif original.is_dir():
        target.mkdir(exist_ok=True)
        for child in original.iterdir():
            _copy(child, target / child.name)
    elif original.is_file() and original.stat().st_mode & 0o004:
        shutil.copyfile(original, target)
        target.chmod(original.stat().st_mode & 0o755)


def _etc_entries() -> Iterator[Path]:
    for name in _ETC:
        path = Path("/etc", name)
        if path.is_symlink() or path.exists():
            yield path


def _key() -> str:
    """Name what the layer is made of, so that a change of it makes another."""
    digest = hashlib.sha256(_FORMAT)
    for path in _etc_entries():
        facts = path.lstat()
        digest.update(f"{path} {facts.st_mtime_ns} {facts.st_size}\n".encode())
    digest.update(repr((trees(), _WRITTEN)).encode())
    return digest.hexdigest()[:32]


def _is_own_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
