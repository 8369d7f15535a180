"""Images in and out against the peers: pull, push, load, save and commit, in one run.

Debian's docker-registry on loopback holds a Debian image of one layer, and one of 20 layers and
300 MB.  The contestants take turns; each begins a round without the image.  All work on an ext4 of
their own with a journal: without one, ext4 makes files many times slower for minutes after others
have been removed (recently_deleted), whoever makes them.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from benchmarks.contestant import program
from benchmarks.measure import TIMES
from benchmarks.scratch import BenchmarkError

_US: Final = "pycontainers"
_DISK: Final = 24 << 30  # bytes at most; the file has holes
_LAYERS: Final = 20
_LAYER_BYTES: Final = 15 << 20
_CHANGED: Final = 10_000

Samples = dict[str, dict[str, list[float]]]


class Bench:
    """The registry, the peers and the images of one run, below one directory."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.registry = self.start_registry(stack, "registry")
        self.docker = self._start_docker(stack)
        self.podman = [
            *(program("podman"), "--root", f"{directory}/podman", "--runroot", f"{directory}/run"),
            *("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "runc"),
        ]
        self.samples: Samples = {}

    def start_registry(self, stack: contextlib.ExitStack, name: str) -> str:
        """Start an empty registry; give its host and port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        config = self.directory / f"{name}.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.directory}/{name}}}}}\n"
        )
        command = [program("docker-registry"), "serve", str(config)]
        self._serve(stack, command, lambda: _open(address))
        return address

    def _start_docker(self, stack: contextlib.ExitStack) -> list[str]:
        home = self.directory / "docker"
        home.mkdir()
        address = f"unix://{home}/socket"
        client = [program("docker"), "-H", address]
        command = [
            *(program("dockerd"), "--data-root", f"{home}/data", "--exec-root", f"{home}/exec"),
            *("--pidfile", f"{home}/pid", "-H", address, "--bridge", "none"),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
        ]
        self._serve(stack, command, lambda: "Server" in _output([*client, "version"]))
        return client

    def _serve(
        self, stack: contextlib.ExitStack, command: list[str], ready: Callable[[], bool]
    ) -> None:
        log = stack.enter_context((self.directory / "servers.log").open("ab"))
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

        def end() -> None:
            server.terminate()
            server.wait(30)

        stack.callback(end)
        deadline = time.monotonic() + 60
        while not ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{command[0]} does not serve; see {log.name}")
            time.sleep(0.1)

    @contextlib.contextmanager
    def fresh_registry(self, name: str) -> Iterator[str]:
        """Give the host and port of a registry that has nothing."""
        with contextlib.ExitStack() as stack:
            yield self.start_registry(stack, name)

    def image(self, name: str) -> str:
        """Give an image's reference in the registry."""
        return f"{self.registry}/{name}:1"

    def time(self, what: str, who: str, work: Callable[[], object]) -> None:
        """Take one sample."""
        before = time.perf_counter()
        work()
        seconds = time.perf_counter() - before
        self.samples.setdefault(what, {}).setdefault(who, []).append(seconds)


def _open(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _run(*command: object) -> None:
    argv = [str(part) for part in command]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(argv[:6])}…: {done.stderr[-300:].strip()}")


def _make_images(bench: Bench) -> None:
    """Put the two images into the registry, through umoci and skopeo."""
    rootfs = bench.directory / "debian.tar"
    _run(program("mmdebstrap"), "--variant=minbase", "--quiet", "bookworm", rootfs)
    many = [_layer(number) for number in range(_LAYERS)]
    for name, layers in (("debian", [rootfs.read_bytes()]), ("many", many)):
        layout = bench.directory / name
        _run("umoci", "init", "--layout", layout)
        _run("umoci", "new", "--image", f"{layout}:1")
        for layer in layers:
            file = bench.directory / "layer.tar"
            file.write_bytes(layer)
            _run("umoci", "raw", "add-layer", "--image", f"{layout}:1", file)
            file.unlink()
        _run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout}:1",
             f"docker://{bench.image(name)}")  # fmt: skip


def _layer(number: int) -> bytes:
    """Make a layer of files that compress about as programs do."""
    chance = random.Random(number)
    words = [chance.randbytes(12) for _ in range(4000)]
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        folder = tarfile.TarInfo(f"layer{number}")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        size, count = 0, 0
        while size < _LAYER_BYTES:
            length = min(int(chance.paretovariate(0.9) * 2000), 2 << 20)
            data = b"".join(chance.choices(words, k=length // 12 + 1))
            entry = tarfile.TarInfo(f"layer{number}/file{count}")
            entry.size = len(data)
            archive.addfile(entry, BytesIO(data))
            size, count = size + length, count + 1
    return made.getvalue()


def _pulls(bench: Bench, round_: int) -> None:
    import pycontainers as pc

    for name in ("debian", "many"):
        what, image = f"pull and unpack: {name}", bench.image(name)

        def ours(image: str = image) -> None:
            with pc.Engine(root=bench.directory / "ours") as engine:
                pc.Image.pull(image, engine=engine, progress=False)

        def skopeo(image: str = image) -> None:
            layout, bundle = bench.directory / "s", bench.directory / "b"
            _run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
                 f"docker://{image}", f"oci:{layout}:1")  # fmt: skip
            _run("umoci", "unpack", "--image", f"{layout}:1", bundle)

        def docker(image: str = image) -> None:
            _run(*bench.docker, "pull", "-q", image)

        def podman(image: str = image) -> None:
            _run(*bench.podman, "pull", "-q", "--tls-verify=false", image)

        contestants = {_US: ours, "docker": docker, "podman": podman, "skopeo + umoci": skopeo}
        for who in _order(contestants, round_):
            _forget(bench)
            bench.time(what, who, contestants[who])


def _order(contestants: Iterable[str], round_: int) -> list[str]:
    names = list(contestants)
    return names[round_ % len(names) :] + names[: round_ % len(names)]


def _forget(bench: Bench) -> None:
    for path in ("ours", "s", "b"):
        shutil.rmtree(bench.directory / path, ignore_errors=True)
    for command in (bench.docker, bench.podman):
        ids = _output([*command, "images", "-aq"]).split()
        if ids:
            _run(*command, "rmi", "-f", *dict.fromkeys(ids))
    os.sync()


def _moves(bench: Bench, round_: int) -> None:
    """Push, save and load the large image."""
    import pycontainers as pc

    _forget(bench)
    image, saved = bench.image("many"), bench.directory / "saved.tar"
    peers = {"docker": bench.docker, "podman": bench.podman}
    insecure = {"docker": [], "podman": ["--tls-verify=false"]}
    with pc.Engine(root=bench.directory / "ours") as engine:
        own = pc.Image.pull(image, engine=engine, progress=False)
        with bench.fresh_registry(f"own{round_}") as registry:
            bench.time("push", _US, lambda: own.push(f"{registry}/a:1", progress=False))
        for who, command in peers.items():
            _run(*command, "pull", "-q", *insecure[who], image)
            with bench.fresh_registry(f"{who}{round_}") as registry:
                _run(*command, "tag", image, f"{registry}/a:1")
                _time(bench, "push", who, command, "push", "-q", *insecure[who], f"{registry}/a:1")
            saved.unlink(missing_ok=True)
            _time(bench, "save", who, command, "save", "-o", saved, image)
        saved.unlink()
        bench.time("save", _US, lambda: own.save(saved, format="docker", progress=False))
    _forget(bench)
    with pc.Engine(root=bench.directory / "ours") as engine:
        bench.time("load", _US, lambda: pc.Image.load(saved, engine=engine, progress=False))
    for who, command in peers.items():
        _time(bench, "load", who, command, "load", "-q", "-i", saved)


def _commits(bench: Bench, round_: int) -> None:
    """Commit a container that has made many files."""
    import pycontainers as pc

    image, name, what = bench.image("debian"), f"c{round_}", f"commit of {_CHANGED:,} files"
    script = f"mkdir /made; for i in $(seq {_CHANGED}); do echo $i > /made/$i; done"
    _run(*bench.docker, "pull", "-q", image)
    options = ["--network", "none", "--name", name]
    _run(*bench.docker, "run", *options, image, "sh", "-c", script)
    _time(bench, what, "docker", bench.docker, "commit", name, f"committed:{round_}")
    _run(*bench.docker, "rm", name)
    with pc.Engine(root=bench.directory / "ours") as engine:
        own = pc.Image.pull(image, engine=engine, progress=False)
        with pc.Container.run(own, ["sh", "-c", script], engine=engine) as container:
            container.wait(120)
            bench.time(what, _US, container.commit)


def _time(bench: Bench, what: str, who: str, command: list[str], *arguments: object) -> None:
    bench.time(what, who, lambda: _run(*command, *arguments))


def run(rounds: int) -> str:
    """Measure all; give the report in Markdown.  Raises BenchmarkError."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(_directory()))
        bench = Bench(directory, stack)
        _make_images(bench)
        for round_ in range(rounds):
            _pulls(bench, round_)
            _moves(bench, round_)
            _commits(bench, round_)
        _forget(bench)
        return _render(bench.samples)


@contextlib.contextmanager
def _directory() -> Iterator[str]:
    """Give a directory on an ext4 of its own."""
    directory = tempfile.mkdtemp(prefix="pycontainers-images-")
    disk, place = Path(directory, "disk"), Path(directory, "mnt")
    try:
        with disk.open("wb") as file:
            file.truncate(_DISK)
        _run("mkfs.ext4", "-q", "-F", disk)
        place.mkdir()
        _run("mount", "-o", "loop", disk, place)
        yield str(place)
    finally:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        mounts = [line.split()[1] for line in lines if line.split()[1].startswith(directory)]
        for mount in reversed(mounts):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _render(samples: Samples) -> str:
    lines = [
        f"| | contestant | runs | median, s | {TIMES} pycontainers |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for what, times in samples.items():
        own = statistics.median(times[_US])
        for who, values in sorted(times.items(), key=lambda item: statistics.median(item[1])):
            middle = statistics.median(values)
            lines.append(f"| {what} | {who} | {len(values)} | {middle:.2f} | {middle / own:.2f} |")
    return "\n".join(lines)
