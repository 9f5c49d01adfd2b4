"""Addresses for machines: alive, ready, metrics."""

import hmac
import ipaddress
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dashboard import __version__, migrations
from dashboard.caches import service as caches
from dashboard.errors import DashboardError, Forbidden
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import CacheStatus
from dashboard.web.context import client_address, open_work, runtime
from dashboard.web.guard import public
from dashboard.work import UnitOfWork

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@public
def healthz() -> Response:
    """The process answers."""
    return Response("ok\n", mimetype="text/plain")


@bp.get("/readyz")
@public
def readyz() -> Response:
    """PostgreSQL answers and its schema is this release's; says in words what is not."""
    try:
        ready = migrations.is_current(runtime().database)
        problem = "" if ready else "The schema is not current: run `cachewarden db upgrade`."
    except DashboardError as error:
        ready, problem = False, str(error)
    response = jsonify(ready=ready, problem=problem)
    response.status_code = 200 if ready else 503
    return response


@bp.get("/metrics")
@public
def metrics() -> Response:
    """Prometheus metrics, read from the database so that every web process tells the same."""
    _check_metrics_access()
    registry = CollectorRegistry(auto_describe=False)
    with open_work() as work:
        registry.register(_Snapshot(list(_families(work))))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


def _check_metrics_access() -> None:
    token = runtime().settings.metrics_token
    if token is not None:
        given = request.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {token.get_secret_value()}".encode()):
            return
        raise Forbidden("Metrics need the bearer token.", what_to_do="Send CACHEWARDEN_METRICS_TOKEN.")
    # A proxy on this machine also comes from a loopback address, but it says for whom it asks.
    is_forwarded = any(name in request.headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP"))
    address = client_address()
    if is_forwarded or address is None or not ipaddress.ip_address(address).is_loopback:
        raise Forbidden(
            "Metrics are for this machine only.",
            what_to_do="Set CACHEWARDEN_METRICS_TOKEN to let others read them.",
        )


class _Snapshot(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _last_poll(status: CacheStatus) -> float | None:
    return status.last_poll_at.timestamp() if status.last_poll_at else None


_GAUGES: tuple[tuple[str, str, Callable[[CacheStatus], float | None]], ...] = (
    ("cachewarden_cache_up", "1 when the last poll of the cache succeeded.", lambda status: status.is_up),
    ("cachewarden_cache_hit_ratio", "Hit ratio of the last 15 minutes, 0 to 1.", lambda s: s.hit_ratio),
    ("cachewarden_cache_used_memory_bytes", "used_memory of all primaries.", lambda s: s.used_memory_bytes),
    ("cachewarden_cache_maxmemory_bytes", "maxmemory of all primaries.", lambda s: s.maxmemory_bytes),
    ("cachewarden_cache_last_poll_timestamp_seconds", "Time of the last good poll.", _last_poll),
)


def _families(work: UnitOfWork) -> Iterator[Metric]:
    info = InfoMetricFamily("cachewarden_build", "This release.")
    info.add_metric([], {"version": __version__})
    yield info
    names = {cache.id: cache.name for cache in caches.list_caches(work)}
    statuses = monitoring.fleet_status(work)
    for name, words, read in _GAUGES:
        family = GaugeMetricFamily(name, words, labels=["cache"])
        for cache_id, cache_name in names.items():
            value = read(statuses[cache_id])
            if value is not None:
                family.add_metric([cache_name], float(value))
        yield family
    beat = monitoring.worker_heartbeat(work)
    if beat is not None:
        family = GaugeMetricFamily(
            "cachewarden_worker_heartbeat_timestamp_seconds", "When the polling worker last said it lives."
        )
        family.add_metric([], beat.timestamp())
        yield family
