"""The codec is strict: what is not one well-formed value is refused, and the place is named."""

from __future__ import annotations

import json
import pickle
import sys
from typing import Any

import pytest

from pycontainers.errors import InvalidArgument
from pycontainers.oci.codec import MAX_DEPTH, from_json, to_json
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.runtime import Linux, Mount, Process, Root, Spec


def document(**members: Any) -> bytes:
    return json.dumps({"root": {"path": "rootfs"}, **members}).encode()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"linux": {"resources": {"memory": {"limit": "3"}}}},
            "linux.resources.memory.limit: expected an integer, found a string",
        ),
        (
            {"linux": {"resources": {"pids": {"limit": 1.0}}}},
            "linux.resources.pids.limit: expected an integer, found a number with a fraction",
        ),
        (
            {"linux": {"resources": {"pids": {"limit": True}}}},
            "linux.resources.pids.limit: expected an integer, found a boolean",
        ),
        ({"linux": {"resources": {"pids": {}}}}, "linux.resources.pids.limit: is missing"),
        ({"process": {"args": "sh"}}, "process.args: expected a list, found a string"),
        ({"process": {"args": ["a", None]}}, "process.args[1]: expected a string, found null"),
        ({"process": {"terminal": 1}}, "process.terminal: expected a boolean, found an integer"),
        ({"process": {"env": ["A=1", "B"]}}, "process.env[1]: 'B' is not NAME=value"),
        ({"process": {"cwd": "tmp"}}, "process.cwd: 'tmp' is not an absolute path"),
        ({"process": {"user": {"uid": -1}}}, "process.user.uid: -1 is not between 0 and "),
        (
            {"process": {"noNewPrivileges": "yes"}},
            "process.noNewPrivileges: expected a boolean, found a string",
        ),
        (
            {"process": {"rlimits": [{"type": "RLIMIT_CORE", "hard": 1, "soft": 2}]}},
            "process.rlimits[0].soft: 2 is more than the hard limit, 1",
        ),
        (
            {"mounts": [{"destination": "/a"}, {"destination": "b"}]},
            "mounts[1].destination: 'b' is not an absolute path",
        ),
        ({"mounts": [{"destination": "/a\0"}]}, "mounts[0].destination: '/a\\x00' holds a NUL"),
        ({"mounts": {}}, "mounts: expected a list, found an object"),
        ({"annotations": {"a b": 3}}, "annotations['a b']: expected a string, found an integer"),
        ({"linux": {"namespaces": [{"type": "net"}]}}, "linux.namespaces[0].type: 'net' is not"),
        (
            {"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}},
            "linux.namespaces: 'pid' is given twice",
        ),
        (
            {"linux": {"uidMappings": [{"containerID": 0, "hostID": 2**32 - 1, "size": 2}]}},
            "linux.uidMappings[0].size: 2 ids end beyond 4294967295",
        ),
        ({"linux": {"devices": [{"type": "c", "path": "/a"}]}}, "linux.devices[0].major: "),
        (
            {"linux": {"maskedPaths": ["/a", "b"]}},
            "linux.maskedPaths[1]: 'b' is not an absolute path",
        ),
        ({"linux": {"seccomp": []}}, "linux.seccomp: expected an object, found a list"),
    ],
)
def test_the_message_names_the_place_in_the_document(members: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_json(Spec, document(**members))

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"config": []}, "config: expected an object, found a list"),
        ({"config": {"Env": [3]}}, "config.Env[0]: expected a string, found an integer"),
        ({"config": {"ExposedPorts": {"80/tcp": {"a": 1}}}}, "config.ExposedPorts['80/tcp']: "),
        ({"config": {"ExposedPorts": {"http": {}}}}, "config.ExposedPorts[0]: 'http' is not"),
        ({"config": {"Healthcheck": {"Interval": "3s"}}}, "config.Healthcheck.Interval: "),
        ({"rootfs": {"diff_ids": ["sha256:12"]}}, "rootfs.diff_ids[0]: '12' is no sha256"),
        ({"history": [{"created": "yesterday"}]}, "history[0].created: 'yesterday' is not"),
        ({"os.features": 1}, "os.features: expected a list, found an integer"),
    ],
)
def test_the_message_names_the_place_in_an_image_config(
    members: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_json(ImageConfig, json.dumps(members).encode())

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'"root"',
        b"{",
        b'{"a": 1,}',
        b'{"a": 1} {}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc80\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": [{"c": 1, "c": 1}]}}',
        b'{"root": {"path": "a"}, "root": {"path": "b"}}',
        b'{"a": ' + b"9" * 100_000 + b"}",
        b'{"process": {"oomScoreAdj": ' + b"9" * 399 + b"}}",
        b"[" * 2_000_000,
        b'{"a":' * 500_000,
        b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
        b'{"a": "' + b'\\"' * 2_000_000,
        b'{"a": "\\" ' + b"[" * 100_000,
        b'{"root": {"path": "a"}, "mounts": [' + b"{}," * 1_000_000 + b"{}]}",
        b'{"a": "' + b" " * (4 << 20) + b'"}',
    ],
    ids=lambda data: repr(data[:24]),
)
def test_hostile_input_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        from_json(Spec, data)
    if b"process" not in data and b"root" not in data:
        with pytest.raises(InvalidArgument):
            from_json(ImageConfig, data)


def test_depth_is_bounded_whatever_the_application_set() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**7)
    try:
        with pytest.raises(InvalidArgument, match="nested deeper than 64"):
            from_json(Spec, b"[" * 4_000_000)
    finally:
        sys.setrecursionlimit(before)


def test_brackets_in_texts_are_no_nesting() -> None:
    path = 'a"\\' + "[{" * 1000

    spec = from_json(Spec, json.dumps({"root": {"path": path}}).encode())

    assert spec.root.path == path


def test_the_size_limit_is_the_callers_to_choose() -> None:
    data = document()

    assert from_json(Spec, data, limit=len(data)).root.path == "rootfs"
    with pytest.raises(InvalidArgument, match=f"more than {len(data) - 1}"):
        from_json(Spec, data, limit=len(data) - 1)


def test_null_and_absent_mean_empty() -> None:
    nothing = dict.fromkeys(("process", "hostname", "mounts", "annotations", "linux"))

    spec = from_json(Spec, document(**nothing))

    assert spec == from_json(Spec, document()) == Spec(root=Root("rootfs"))


def test_null_in_an_image_config_means_empty() -> None:
    data = b'{"config": null, "history": null, "rootfs": {"diff_ids": null}}'
    ports = b'{"config": {"ExposedPorts": {"80/tcp": null}, "Env": null, "Labels": null}}'

    assert from_json(ImageConfig, data) == ImageConfig()
    assert from_json(ImageConfig, ports) == ImageConfig(exposed_ports=["80/tcp"])


def test_empty_members_are_not_written() -> None:
    mount = to_json(Mount("/proc"))
    process = json.loads(to_json(Process()))

    assert mount == b'{"destination":"/proc"}'
    assert process == {"user": {"uid": 0, "gid": 0}, "cwd": "/"}


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        "\ud800",
        b"bytes",
        object(),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_not_written(value: object) -> None:
    spec = Spec(root=Root("rootfs"), linux=Linux(seccomp={"a": value}), unknown={"a": value})

    with pytest.raises(InvalidArgument):
        to_json(spec)


def test_a_value_that_holds_itself_is_not_written() -> None:
    endless: dict[str, object] = {}
    endless["a"] = endless

    with pytest.raises(InvalidArgument):
        to_json(Spec(root=Root("rootfs"), unknown=endless))


@pytest.mark.parametrize(
    "value",
    [
        Spec(root=Root("rootfs"), unknown={"hostname": "two"}),
        ImageConfig(unknown={"config": {"Env": ["A=1"]}}),
        ImageConfig(unknown={"config": 3}),
    ],
)
def test_unknown_members_never_stand_for_known_ones(value: object) -> None:
    with pytest.raises(InvalidArgument):
        to_json(value)


def test_an_error_survives_pickling() -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_json(Spec, document(mounts=3))

    copy = pickle.loads(pickle.dumps(caught.value))

    assert str(copy) == str(caught.value) == "mounts: expected a list, found an integer"
