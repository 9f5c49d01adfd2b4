"""Parsing of INFO: what is missing is None, and nothing a server sends can hurt."""

import dataclasses
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.monitoring.info import MAX_FIELDS, MAX_REPLY_BYTES, Info, parse_info, read
from dashboard.monitoring.types import (
    COUNTERS,
    FLOAT_GAUGES,
    GAUGES,
    CommandStat,
    DatabaseLine,
    Delta,
    Reading,
)
from tests.support.readings import START, info_text
from tests.support.shared import shared_data

REDIS_62 = b"""# Server\r
redis_version:6.2.14\r
redis_mode:standalone\r
os:Linux 5.4 x86_64\r
run_id:5d97fd948bbf6cb68458685fc747f9f9019c3fc4\r
server_time_usec:1795375384967993\r
uptime_in_seconds:100\r
\r
# Clients\r
connected_clients:7\r
maxclients:10000\r
\r
# Memory\r
used_memory:1048576\r
used_memory_peak_perc:20.99%\r
maxmemory:0\r
maxmemory_policy:noeviction\r
mem_fragmentation_ratio:1.25\r
mem_fragmentation_bytes:-4096\r
\r
# Stats\r
keyspace_hits:30\r
keyspace_misses:10\r
expired_stale_perc:0.00\r
\r
# CPU\r
used_cpu_sys:1.500000\r
used_cpu_user:0.250000\r
\r
# Commandstats\r
cmdstat_config:calls=2,usec=60,usec_per_call=30.00,rejected_calls=0,failed_calls=1\r
cmdstat_keys:calls=3,usec=900,usec_per_call=300.00,rejected_calls=0,failed_calls=0\r
\r
# Errorstats\r
errorstat_OOM:count=4\r
errorstat_WRONGTYPE:count=1\r
\r
# Keyspace\r
db0:keys=90,expires=30,avg_ttl=60000\r
db3:keys=10,expires=10,avg_ttl=20000\r
"""


def of(text: bytes | str) -> Reading:
    return read(parse_info(text), START, 1.0)


def numbers(reading: Reading) -> dict[str, object]:
    return {name: getattr(reading, name) for name in (*COUNTERS, *GAUGES)}


def test_a_small_reply_is_read_field_by_field() -> None:
    reading = of(REDIS_62)
    assert (reading.vendor, reading.version, reading.mode) == ("redis", "6.2.14", "standalone")
    assert reading.run_id == "5d97fd948bbf6cb68458685fc747f9f9019c3fc4"
    assert (reading.keyspace_hits, reading.keyspace_misses) == (30, 10)
    assert (reading.maxmemory, reading.maxmemory_policy) == (0, "noeviction")
    assert reading.mem_fragmentation_bytes == -4096
    assert reading.mem_fragmentation_ratio == 1.25
    assert reading.used_cpu_usec == 1_750_000
    assert (reading.keys_calls, reading.flush_calls, reading.errors_oom) == (3, 0, 4)
    assert reading.commands["config"] == CommandStat(2, 60, 0, 1)
    assert reading.commands["keys"] == CommandStat(3, 900, 0, 0)
    assert reading.errors == {"OOM": 4, "WRONGTYPE": 1}
    assert reading.databases == (
        DatabaseLine(0, 90, 30, 60_000),
        DatabaseLine(3, 10, 10, 20_000),
    )
    assert (reading.keys, reading.expires) == (100, 40)
    assert reading.avg_ttl_s == pytest.approx((30 * 60 + 10 * 20) / 40)
    assert (reading.taken_at, reading.clock_s) == (START, 1.0)


def test_what_a_reply_does_not_have_is_none_and_not_zero() -> None:
    reading = of(REDIS_62)
    for name in ("evicted_keys", "rejected_connections", "total_net_input_bytes", "used_memory_rss", "role"):
        assert getattr(reading, name) is None, name
    empty = of(b"")
    assert all(value is None for value in numbers(empty).values())
    assert (empty.vendor, empty.version, empty.databases, empty.commands) == ("unknown", None, (), {})


def test_line_ends_header_lines_and_text_or_bytes_make_no_difference() -> None:
    expected = of(REDIS_62)
    assert of(REDIS_62.replace(b"\r\n", b"\n")) == expected
    assert of(REDIS_62.decode()) == expected
    assert of(b"$950\r\n" + REDIS_62) == expected
    assert of(b"\xef\xbf\xff\r\nno colon here\r\n:no name\r\n" + REDIS_62) == expected


@pytest.mark.parametrize(
    "value", ["-1", "-", "N/A", "", "[0.1,0.2]", "nan", "inf", "1e6", "0x10", "1_000", "९", "9" * 40]
)
def test_a_counter_that_is_no_number_is_unknown(value: str) -> None:
    reading = of(f"# Stats\r\nkeyspace_hits:{value}\r\nmaxclients:{value}\r\nexpired_stale_perc:{value}\r\n")
    assert (reading.keyspace_hits, reading.maxclients) == (None, None)
    if value != "9" * 40:
        assert reading.expired_stale_perc is None


@pytest.mark.parametrize("value", ["-", "N/A", "", " "])
def test_a_placeholder_is_no_text(value: str) -> None:
    reading = of(f"run_id:{value}\nmaxmemory_policy:{value}\n")
    assert (reading.run_id, reading.maxmemory_policy) == (None, None)


def test_a_value_keeps_its_colons_and_a_name_its_dots_and_bars() -> None:
    info = parse_info(
        "listener0:name=tcp,bind=::1,port=6379\ncmdstat_config|get:calls=1,usec=2\na.b:1\n# X\n"
    )
    assert info.fields["listener0"] == "name=tcp,bind=::1,port=6379"
    assert info.fields["a.b"] == "1"
    assert info.commands == {"config|get": CommandStat(1, 2)}


def test_a_percentage_is_its_number() -> None:
    assert parse_info(REDIS_62).number("used_memory_peak_perc") == 20.99


def test_of_a_repeated_name_the_first_counts() -> None:
    assert of("keyspace_hits:5\nkeyspace_hits:900\n").keyspace_hits == 5


def test_database_parts_are_read_by_name() -> None:
    line = "keys=7,expires=5,hits=99,misses=98,hit_ratio=0.50,avg_ttl=-1"
    assert parse_info(f"# Keyspace\ndb2:{line}\nsequence:0\ndbsize:3\n").databases == (
        DatabaseLine(2, 7, 5, None),
    )
    line = "avg_ttl=1500,subexpiry=4,keys=7,expires=5"
    assert parse_info(f"db0:{line}").databases == (DatabaseLine(0, 7, 5, 1500, 4),)


def test_an_empty_keyspace_section_means_no_keys() -> None:
    assert (of("# Keyspace\r\n").keys, of("# Keyspace\r\n").expires) == (0, 0)
    assert of("# Stats\r\n").keys is None
    assert of("# Keyspace\ndb0:keys=x,expires=1\n").keys is None


def test_an_empty_statistics_section_means_none_so_far() -> None:
    there = of("# Commandstats\n\n# Errorstats\n")
    assert (there.keys_calls, there.flush_calls, there.errors_oom) == (0, 0, 0)
    away = of("# Stats\n")
    assert (away.keys_calls, away.flush_calls, away.errors_oom) == (None, None, None)


def test_errors_that_the_server_stopped_telling_apart_are_unknown() -> None:
    assert of("# Errorstats\nerrorstat_ERRORSTATS_OVERFLOW:count=9\n").errors_oom is None


@pytest.mark.parametrize(
    ("text", "vendor", "version"),
    [
        ("redis_version:7.2.4\nserver_name:valkey\nvalkey_version:9.1.2\n", "valkey", "9.1.2"),
        ("redis_version:7.4.0\ndragonfly_version:df-v2.0.0\n", "dragonfly", "df-v2.0.0"),
        ("redis_version:6.3.4\n# KeyDB\nmvcc_depth:0\n", "keydb", "6.3.4"),
        ("redis_version:7.0.7\nos:Amazon ElastiCache\n", "elasticache", "7.0.7"),
        ("redis_version:6.0.14\nos:Windows\n", "azure", "6.0.14"),
        ("redis_version:7.4.1\nos:Linux\n", "redis", "7.4.1"),
    ],
)
def test_the_product_is_told_apart_and_its_own_version_goes_first(
    text: str, vendor: str, version: str
) -> None:
    reading = of(text)
    assert (reading.vendor, reading.version) == (vendor, version)


def test_the_mode_has_two_names() -> None:
    assert of("server_mode:cluster\n").mode == "cluster"
    assert of("redis_mode:cluster\n").mode == "cluster"


def test_other_spellings() -> None:
    garnet = of("garnet_version:2.2\ntotal_found:8\ntotal_notfound:2\n")
    assert (garnet.keyspace_hits, garnet.keyspace_misses) == (8, 2)
    dragonfly = of("dragonfly_version:df-v2\nmax_clients:64000\noom_rejections:3\nrejected_connections:-1\n")
    assert (dragonfly.maxclients, dragonfly.errors_oom, dragonfly.rejected_connections) == (64000, 3, None)


def test_text_is_printable_and_short() -> None:
    reading = of(b"run_id:a\x00b\x1b[31mc\xff\r\nmaxmemory_policy:" + b"x" * 5000 + b"\r\n")
    assert reading.run_id == "ab[31mc\N{REPLACEMENT CHARACTER}"
    assert reading.maxmemory_policy == "x" * 128


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\x00:\n" * 400_000,
        b"x" * 3_000_000,
        b"".join(b"cmdstat_%d:calls=1,usec=1\n" % number for number in range(100_000)),
        b"".join(b"# %d\n" % number for number in range(300_000)),
        b"a:" + b"1," * 1_000_000,
    ],
    ids=["binary", "one line", "commands", "sections", "one value"],
)
def test_megabytes_of_junk_are_bounded(junk: bytes) -> None:
    began = time.perf_counter()
    info = parse_info(junk)
    reading = read(info, START, 1.0)
    assert time.perf_counter() - began < 5
    assert len(info.fields) <= MAX_FIELDS
    assert len(info.sections) <= MAX_FIELDS
    assert len(reading.commands) <= MAX_FIELDS
    assert all(len(value) <= 4096 for value in info.fields.values())


def test_the_cut_end_of_an_endless_reply_is_not_taken_for_a_number() -> None:
    head = "# Commandstats\n# Errorstats\n"
    text = (
        head + "x" * (MAX_REPLY_BYTES - len(head) - len("\nkeyspace_hits:123")) + "\nkeyspace_hits:123456\n"
    )
    info = parse_info(text)
    assert info.is_truncated
    reading = read(info, START, 1.0)
    # Nor is what may have been cut off taken for "none so far".
    assert (reading.keyspace_hits, reading.keys_calls, reading.errors_oom) == (None, None, None)


@given(st.binary(max_size=2000) | st.text(max_size=2000))
def test_no_garbage_raises(junk: bytes | str) -> None:
    assert isinstance(parse_info(junk), Info)
    of(junk)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*COUNTERS, *GAUGES, "db0", "cmdstat_get", "errorstat_OOM"]), st.text(max_size=40)
        ),
        max_size=30,
    )
)
def test_no_value_raises_or_becomes_a_number_the_store_cannot_hold(pairs: list[tuple[str, str]]) -> None:
    reading = of("\r\n".join(f"{name}:{value}" for name, value in pairs))
    for name, value in numbers(reading).items():
        assert value is None or isinstance(value, int | float), name
        if name not in FLOAT_GAUGES:
            assert value is None or (isinstance(value, int) and abs(value) < 2**63), name


def test_the_lists_name_real_attributes() -> None:
    readings = {field.name for field in dataclasses.fields(Reading)}
    deltas = {field.name for field in dataclasses.fields(Delta)}
    assert set(COUNTERS) <= readings & deltas
    assert set(GAUGES) <= readings
    assert set(GAUGES) >= FLOAT_GAUGES
    assert not set(COUNTERS) & set(GAUGES)


def test_the_text_for_tests_reads_back() -> None:
    reading = of(
        info_text(keyspace_hits=3, commands={"get": "calls=5,usec=9"}, db0="keys=4,expires=2,avg_ttl=0")
    )
    assert (reading.keyspace_hits, reading.keys, reading.avg_ttl_s) == (3, 4, None)
    assert reading.commands["get"] == CommandStat(5, 9)


# Real replies -------------------------------------------------------------------------------------------------

OLDER_THAN_7_0 = {
    "async_loading",
    "evicted_clients",
    "total_eviction_exceeded_time",
    "current_eviction_exceeded_time",
}
NEWER_THAN_7_0 = {
    "client_output_buffer_limit_disconnections",
    "eventloop_duration_sum",
    "eventloop_duration_cmd_sum",
}
NOT_A_REPLICA = {"master_link_status", "master_link_down_since_seconds"}

MISSING = {
    "captured/redis-6.2.14.info.txt": OLDER_THAN_7_0 | NEWER_THAN_7_0 | NOT_A_REPLICA | {"rdb_saves"},
    "captured/redis-7.0.15.info.txt": NEWER_THAN_7_0 | NOT_A_REPLICA,
    "captured/redis-7.4.1.info.txt": NOT_A_REPLICA,
    "captured/redis-8.0-m01.info.txt": NOT_A_REPLICA,
    "captured/valkey-8.0.1.info.txt": NOT_A_REPLICA,
    "captured/redis-7.4.1-master-with-replica.info.txt": NOT_A_REPLICA | {"avg_ttl_s"},
    "captured/redis-7.4.1-replica.info.txt": {"avg_ttl_s", "master_link_down_since_seconds"},
    "captured/redis-7.4.1-replica-link-down.info.txt": {"avg_ttl_s"},
    "others/keydb-6.3.4.netdata.txt": OLDER_THAN_7_0 | NEWER_THAN_7_0 | NOT_A_REPLICA | {"rdb_saves", "avg_ttl_s"},
    "others/redis-6.0.9.netdata.txt": OLDER_THAN_7_0
    | NEWER_THAN_7_0
    | NOT_A_REPLICA
    | {"rdb_saves", "avg_ttl_s", "maxclients", "server_time_usec", "total_error_replies", "errors_oom"},
    "others/dragonfly-df-v2.0.0.netdata.txt": OLDER_THAN_7_0
    | NEWER_THAN_7_0
    | NOT_A_REPLICA
    | {
        "run_id", "server_time_usec", "master_replid2", "expired_time_cap_reached_count",
        "expire_cycle_cpu_milliseconds", "rejected_connections", "total_error_replies", "used_memory_dataset",
        "used_memory_overhead", "total_system_memory", "mem_fragmentation_ratio", "mem_fragmentation_bytes",
        "allocator_frag_ratio", "allocator_frag_bytes", "mem_not_counted_for_evict", "mem_clients_normal",
        "lazyfree_pending_objects", "avg_ttl_s", "expired_stale_perc", "tracking_clients", "latest_fork_usec",
        "mem_allocator", "active_defrag_running", "rdb_last_save_time", "rdb_changes_since_last_save", "rdb_saves",
        "aof_enabled", "aof_last_write_status", "aof_last_bgrewrite_status",
    },
}  # fmt: skip

SPOT_FACTS: dict[str, dict[str, object]] = {
    "captured/redis-6.2.14.info.txt": {
        "vendor": "redis", "version": "6.2.14", "mode": "standalone", "role": "master", "keyspace_hits": 3000,
        "keyspace_misses": 1000, "keys": 3004, "expires": 3000, "avg_ttl_s": 3598.783, "maxclients": 10000,
        "keys_calls": 1, "used_cpu_usec": 718_817,
    },
    "captured/redis-7.0.15.info.txt": {
        "version": "7.0.15", "keyspace_hits": 3000, "keyspace_misses": 1000, "keys_calls": 1, "errors_oom": 0,
    },
    "captured/redis-7.4.1.info.txt": {
        "version": "7.4.1", "run_id": "fe910390650a6331c1b004d45dad796b22b10d44", "process_id": 6914,
        "server_time_usec": 1795376939066908, "used_memory": 3231848, "maxmemory": 8388608,
        "maxmemory_policy": "allkeys-lru", "allocator_frag_ratio": 1.08, "mem_fragmentation_bytes": 6211640,
        "total_system_memory": 25276510208, "loading": False, "mem_allocator": "jemalloc-5.3.0",
    },
    "captured/redis-8.0-m01.info.txt": {
        "version": "7.9.224", "keys": 3004, "total_commands_processed": 7020, "used_cpu_usec": 250_506,
        "total_error_replies": 4, "eventloop_duration_cmd_sum": 57311, "tracking_clients": 0,
    },
    "captured/valkey-8.0.1.info.txt": {
        "vendor": "valkey", "version": "8.0.1", "mode": "standalone", "keyspace_hits": 3000,
        "run_id": "f204d03f7a162e7a5d1fea9b1aa35918ebb65f1a",
    },
    "captured/redis-7.4.1-master-with-replica.info.txt": {
        "role": "master", "connected_slaves": 1, "master_replid": "87658d14cdfacb87687e452d9f2fdca163cc7ded",
        "keyspace_hits": 0, "keys": 0,
    },
    "captured/redis-7.4.1-replica.info.txt": {
        "role": "slave", "master_link_status": "up", "master_replid": "87658d14cdfacb87687e452d9f2fdca163cc7ded",
    },
    "captured/redis-7.4.1-replica-link-down.info.txt": {
        "role": "slave", "master_link_status": "down", "master_link_down_since_seconds": 2,
    },
    "others/keydb-6.3.4.netdata.txt": {"vendor": "keydb", "version": "6.3.4", "maxclients": 10000},
    "others/redis-6.0.9.netdata.txt": {
        "vendor": "redis", "version": "6.0.9", "keyspace_hits": 2, "keys": 4, "expires": 0,
        "uptime_in_seconds": 252812,
    },
    "others/dragonfly-df-v2.0.0.netdata.txt": {
        "vendor": "dragonfly", "version": "df-v2.0.0", "maxclients": 64000, "maxmemory": 48540578611,
        "maxmemory_policy": "noeviction", "keyspace_hits": 0, "keys": 0, "errors_oom": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MISSING))
def test_a_real_reply(name: str) -> None:
    folder = shared_data()
    if folder is None:
        pytest.skip("the shared data is absent (CACHEWARDEN_SHARED_DATA)")
    reading = of((folder / "info" / name).read_bytes())
    for field, value in SPOT_FACTS[name].items():
        assert getattr(reading, field) == value, field
    missing = {field.name for field in dataclasses.fields(reading) if getattr(reading, field.name) is None}
    assert missing == MISSING[name]


def test_every_real_reply_has_its_test() -> None:
    folder = shared_data()
    if folder is None:
        pytest.skip("the shared data is absent (CACHEWARDEN_SHARED_DATA)")
    found = {str(path.relative_to(folder / "info")) for path in (folder / "info").rglob("*.txt")}
    assert found == set(MISSING)
