"""Settings from the environment, validated at start.

Each field's description is its documentation: ``cachewarden config`` prints it, and a test compares
docs/configuration.md with it.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dashboard.errors import ConfigError

PREFIX = "CACHEWARDEN_"


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "cachewarden"


class Settings(BaseSettings):
    """Every setting, its unit, its range and its default."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True)

    secret_key: SecretStr = Field(
        min_length=32,
        description="Signs session cookies and encrypts stored credentials; at least 32 characters, random,"
        " the same for web and worker. Required outside the demo.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL 14 or later, postgresql://user:password@host/name. Unset: PostgreSQL from"
        " the wheel, in the data directory.",
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Folder for the embedded servers' data and the demo's secret key.",
    )
    host: str = Field(default="127.0.0.1", description="Address the web server listens on.")
    port: int = Field(default=8765, ge=1, le=65535, description="Port the web server listens on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What the log holds at least."
    )
    secure_cookies: bool = Field(
        default=True,
        description="Send the session cookie over HTTPS only. Turn off only for plain HTTP on this machine.",
    )
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        le=5,
        description="How many reverse proxies in front set X-Forwarded-For and X-Forwarded-Proto.",
    )
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Host names the dashboard answers to, separated by commas. Empty: any.",
    )
    session_hours: int = Field(
        default=12, ge=1, le=720, description="Hours after which a sign-in ends by itself."
    )
    poll_interval_s: int = Field(
        default=10, ge=5, le=3600, description="Seconds between two polls of a newly added cache."
    )
    poll_timeout_s: float = Field(
        default=2.0, ge=0.1, le=30, description="Seconds to wait for a cache to connect or answer."
    )
    hit_ratio_target: float = Field(
        default=0.8, gt=0, lt=1, description="Target hit ratio of a newly added cache, 0 to 1."
    )
    raw_retention_h: int = Field(default=48, ge=24, le=720, description="Hours every sample is kept.")
    minute_retention_d: int = Field(default=31, ge=2, le=400, description="Days one-minute rollups are kept.")
    hour_retention_d: int = Field(default=730, ge=31, le=3660, description="Days one-hour rollups are kept.")
    metrics_token: SecretStr | None = Field(
        default=None,
        description="When set, /metrics asks for it as a bearer token. Unset: /metrics answers only on"
        " loopback addresses.",
    )
    lab: bool = Field(
        default=False,
        description="Offer the scenario lab. Its runs load the worker's machine and start servers of their own"
        " there, which need the extra embedded. The same for web and worker.",
    )
    shop_url: str | None = Field(
        default=None,
        description="Address of the demo store, http:// or https://, for the navigation. Unset: no entry.",
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("shop_url")
    @classmethod
    def _web_only(cls, value: str | None) -> str | None:
        # It becomes a link: nothing that runs may stand in it.
        if value and value.partition(":")[0].lower() not in ("http", "https"):
            raise ValueError("takes an address that begins with http:// or https://")
        return value or None

    @field_validator("database_url")
    @classmethod
    def _postgresql_only(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        scheme = value.get_secret_value().partition(":")[0].lower()
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise ValueError("takes postgresql://user:password@host/name; no other database is supported")
        return value


def environment_name(field: str) -> str:
    """The environment variable that sets ``field``."""
    return "DATABASE_URL" if field in ("database_url", "DATABASE_URL") else PREFIX + field.upper()


_SECRET = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        field = str(item["loc"][0]) if item["loc"] else ""
        name = environment_name(field)
        field = "database_url" if name == "DATABASE_URL" else field.lower()
        takes = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            lines.append(f"{name} is not set. {Settings.model_fields[field].description}")
        else:
            # A rejected secret is not echoed: logs outlive terminals.
            got = "(hidden)" if field in _SECRET else repr(item["input"])
            lines.append(f"{name} is {got}: {takes}. {Settings.model_fields[field].description}")
    return "\n".join(lines)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        overrides: values that win over the environment, by field name (the demo sets its own).

    Raises:
        ConfigError: names each wrong variable, what it got and what it takes.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigError(_explain(error), what_to_do="docs/configuration.md lists every setting.") from None


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(variable, effective value with secrets masked, description) of every setting."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            shown = "(set, hidden)"
        elif isinstance(value, list):
            shown = ",".join(value) or "(unset)"
        else:
            shown = "(unset)" if value is None else str(value)
        rows.append((environment_name(name), shown, field.description or ""))
    return rows
