"""Settings: every wrong value names the variable, what it got and what it takes."""

import pytest

from dashboard.config import Settings, describe, environment_name, load_settings
from dashboard.errors import ConfigError

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)


def test_the_secret_key_is_required() -> None:
    with pytest.raises(ConfigError, match="CACHEWARDEN_SECRET_KEY is not set"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CACHEWARDEN_POLL_INTERVAL_S", "2", "greater than or equal to 5"),
        ("CACHEWARDEN_POLL_INTERVAL_S", "often", "valid integer"),
        ("CACHEWARDEN_PORT", "99999", "65535"),
        ("CACHEWARDEN_HIT_RATIO_TARGET", "80", "less than 1"),
        ("CACHEWARDEN_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("CACHEWARDEN_SECURE_COOKIES", "maybe", "boolean"),
        ("CACHEWARDEN_LAB", "perhaps", "boolean"),
        ("CACHEWARDEN_SHOP_URL", "javascript:alert(1)", "http:// or https://"),
    ],
)
def test_a_wrong_value_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv("CACHEWARDEN_SECRET_KEY", KEY)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert f"{variable} is '{value}'" in str(caught.value)
    assert words in str(caught.value)


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEWARDEN_PORT", "0")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "CACHEWARDEN_SECRET_KEY" in str(caught.value) and "CACHEWARDEN_PORT" in str(caught.value)


def test_a_wrong_secret_is_not_echoed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEWARDEN_SECRET_KEY", "short-secret")
    monkeypatch.setenv("DATABASE_URL", "mysql://root:hunter2@db/x")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    text = str(caught.value)
    assert "short-secret" not in text and "hunter2" not in text
    assert "CACHEWARDEN_SECRET_KEY is (hidden)" in text and "postgresql://" in text


@pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://h/x", "redis://h"])
def test_no_other_database_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CACHEWARDEN_SECRET_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ConfigError, match="no other database"):
        load_settings()


def test_what_is_printed_hides_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEWARDEN_SECRET_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db/x")
    monkeypatch.setenv("CACHEWARDEN_METRICS_TOKEN", "hunter3")
    monkeypatch.setenv("CACHEWARDEN_ALLOWED_HOSTS", "a.example, b.example")
    shown = {name: value for name, value, _ in describe(load_settings())}
    assert KEY not in str(shown) and "hunter" not in str(shown)
    assert shown["DATABASE_URL"] == "(set, hidden)"
    assert shown["CACHEWARDEN_ALLOWED_HOSTS"] == "a.example,b.example"
    assert len(shown) == len(Settings.model_fields)
    assert all(description for _, _, description in describe(load_settings()))
