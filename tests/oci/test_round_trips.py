"""What is written as JSON is read back as the same value, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.errors import InvalidArgument
from pycontainers.oci import config, runtime
from pycontainers.oci.codec import from_json, to_json
from pycontainers.oci.fields import INT64_MAX, UINT16_MAX, UINT32_MAX, UINT64_MAX

_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(_characters, max_size=8)
some_texts = st.text(_characters, min_size=1, max_size=8)
paths = texts.map("/{}".format)
uint32 = st.integers(0, UINT32_MAX)
uint64 = st.integers(0, UINT64_MAX)
limits = st.integers(-1, INT64_MAX)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_characters, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(_characters, max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
names = texts.map("x-{}".format)
unknowns = st.dictionaries(names, json_values, max_size=2)


def tuples(of: st.SearchStrategy[Any], **sizes: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=sizes.pop("max_size", 3), **sizes).map(tuple)


def made(cls: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Give values of a class with any of the fields left at their defaults."""
    mandatory = {f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING}
    fields = {"unknown": unknowns} | fields
    chosen = {name: of for name, of in fields.items() if name in mandatory}
    free = {name: of for name, of in fields.items() if name not in mandatory}
    return st.fixed_dictionaries(chosen, optional=free).map(lambda given: cls(**given))


boxes = made(runtime.Box, height=uint32, width=uint32)
users = made(
    runtime.User,
    uid=uint32,
    gid=uint32,
    additional_gids=tuples(uint32),
    umask=st.none() | st.integers(0, 0o777),
    username=texts,
)
capability_sets = tuples(texts.map("CAP_{}".format))
capabilities = made(
    runtime.Capabilities,
    **dict.fromkeys(
        ("bounding", "effective", "inheritable", "permitted", "ambient"), capability_sets
    ),
)
rlimits = st.tuples(some_texts, st.lists(uint64, min_size=2, max_size=2).map(sorted)).map(
    lambda drawn: runtime.Rlimit(f"RLIMIT_{drawn[0]}", drawn[1][1], drawn[1][0])
)
processes = made(
    runtime.Process,
    terminal=st.booleans(),
    console_size=st.none() | boxes,
    user=users,
    args=tuples(texts),
    env=tuples(st.tuples(some_texts.filter(lambda name: name[0] != "="), texts).map("=".join)),
    cwd=paths,
    capabilities=capabilities,
    rlimits=tuples(rlimits, unique_by=lambda limit: limit.type),
    no_new_privileges=st.booleans(),
    oom_score_adj=st.none() | st.integers(-1000, 1000),
    apparmor_profile=texts,
)
ids = st.integers(0, UINT32_MAX // 2)
mappings = tuples(
    made(runtime.IDMapping, container_id=ids, host_id=ids, size=st.integers(1, UINT32_MAX // 2))
)
mounts = made(
    runtime.Mount,
    destination=paths,
    type=texts,
    source=texts,
    options=tuples(texts),
    uid_mappings=mappings,
    gid_mappings=mappings,
)
devices = made(
    runtime.Device,
    type=st.just("p"),
    path=paths,
    major=st.none() | ids,
    minor=st.none() | ids,
    file_mode=st.none() | st.integers(0, 0o7777),
    uid=st.none() | uint32,
    gid=st.none() | uint32,
)
rules = made(
    runtime.DeviceRule,
    allow=st.booleans(),
    type=st.sampled_from(["", "a", "b", "c"]),
    major=st.none() | limits,
    minor=st.none() | limits,
    access=st.sampled_from(["", "r", "rw", "rwm", "m"]),
)
resources = made(
    runtime.Resources,
    devices=tuples(rules),
    memory=st.none()
    | made(runtime.Memory, **dict.fromkeys(("limit", "reservation", "swap"), st.none() | limits)),
    cpu=st.none()
    | made(
        runtime.CPU,
        shares=st.none() | uint64,
        quota=st.none() | limits,
        period=st.none() | uint64,
        cpus=texts,
        mems=texts,
    ),
    pids=st.none() | made(runtime.Pids, limit=limits),
    block_io=st.none() | made(runtime.BlockIO, weight=st.none() | st.integers(0, UINT16_MAX)),
)
namespaces = made(
    runtime.Namespace, type=st.sampled_from(runtime.NAMESPACES), path=st.just("") | paths
)
linux = made(
    runtime.Linux,
    uid_mappings=mappings,
    gid_mappings=mappings,
    sysctl=st.dictionaries(texts, texts, max_size=3),
    resources=resources,
    cgroups_path=texts,
    namespaces=tuples(namespaces, unique_by=lambda entry: entry.type),
    devices=tuples(devices),
    seccomp=st.dictionaries(texts, json_values, max_size=3),
    rootfs_propagation=st.sampled_from(["", "private", "rslave"]),
    masked_paths=tuples(paths),
    readonly_paths=tuples(paths),
    mount_label=texts,
)
specs = made(
    runtime.Spec,
    oci_version=some_texts,
    process=processes,
    root=made(runtime.Root, path=some_texts, readonly=st.booleans()),
    hostname=texts,
    domainname=texts,
    mounts=tuples(mounts),
    annotations=st.dictionaries(texts, texts, max_size=3),
    linux=linux,
)

times = st.sampled_from(["", "2026-11-24T04:33:06.672573334Z", "1970-01-01T00:00:00+01:00"])
digests = st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}")
healthchecks = made(
    config.Healthcheck,
    test=tuples(texts),
    **dict.fromkeys(
        ("interval", "timeout", "start_period", "start_interval", "retries"),
        st.integers(0, INT64_MAX),
    ),
)
histories = made(
    config.History,
    created=times,
    created_by=texts,
    author=texts,
    comment=texts,
    empty_layer=st.booleans(),
)
ports = st.integers(1, 65535).map(str) | st.integers(1, 65535).map("{}/tcp".format)
configs = made(
    config.ImageConfig,
    created=times,
    author=texts,
    architecture=some_texts,
    variant=texts,
    os=some_texts,
    os_version=texts,
    os_features=tuples(texts),
    user=texts,
    exposed_ports=tuples(ports, unique=True),
    env=tuples(texts),
    entrypoint=tuples(texts),
    cmd=tuples(texts),
    volumes=tuples(paths, unique=True),
    working_dir=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    stop_signal=texts,
    healthcheck=st.none() | healthchecks,
    shell=tuples(texts),
    on_build=tuples(texts),
    rootfs=made(config.RootFS, diff_ids=tuples(digests)),
    history=tuples(histories),
    unknown=unknowns
    | st.builds(
        lambda top, inner: {**top, "config": inner},
        unknowns,
        st.dictionaries(names, json_values, min_size=1, max_size=2),
    ),
)


@given(specs)
def test_a_spec_is_read_back_as_it_was_written(spec: runtime.Spec) -> None:
    written = to_json(spec)

    read = from_json(runtime.Spec, written)

    assert read == spec
    assert to_json(read) == written


@given(configs)
def test_an_image_config_is_read_back_as_it_was_written(image: config.ImageConfig) -> None:
    written = to_json(image)

    read = from_json(config.ImageConfig, written)

    assert read == image
    assert to_json(read) == written


@given(specs, st.data())
def test_a_spec_with_one_part_exchanged_is_read_or_refused(
    spec: runtime.Spec, data: st.DataObject
) -> None:
    holder: Any = [json.loads(to_json(spec))]
    top, key = holder, 0
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(keys))
    holder[key] = data.draw(json_values)

    try:
        read = from_json(runtime.Spec, json.dumps(top[0]).encode())
    except InvalidArgument:
        return

    assert from_json(runtime.Spec, to_json(read)) == read


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for cls in (runtime.Spec, config.ImageConfig):
        try:
            from_json(cls, data)
        except InvalidArgument:
            continue


@pytest.mark.parametrize("cls", [runtime.Spec, config.ImageConfig])
def test_unknown_members_stay_where_they_were(cls: type[object]) -> None:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "ociVersion": "1.2.0",
        "rootfs": {"type": "layers", "diff_ids": [], "x-in": 1},
        "root": {"path": "rootfs", "x-in": [None, 1.5, {"a": "é"}]},
        "config": {"ArgsEscaped": True},
        "hooks": {"poststop": [{"path": "/bin/true"}]},
    }

    read = from_json(cls, json.dumps(document).encode())

    assert json.loads(to_json(read)) == document
