"""How values become bytes. JSON unless the application chooses otherwise: anybody can read it."""

import importlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from dashboard.caching.errors import Unserialisable, UsageError

_LEAVES: Final = frozenset((str, int, float, bool, type(None)))
_LONG_NUMBER = re.compile(rb"\d{19}")

WHY_NO_PICKLE: Final = (
    "pickle is refused: whoever can write to the cache could run code in every application that reads it, values "
    "break when a class is renamed, and neither redis-cli nor a program in another language can read them. "
    "Return plain data from the loader, or use MsgpackCodec."
)


class Codec(Protocol):
    """What a serialiser must offer. Encoded values must not begin with a NUL byte followed by ``cachewarden:``."""

    def encode(self, value: Any) -> bytes:
        """Serialise; raises Unserialisable for what would not come back as it was."""

    def decode(self, data: bytes) -> Any:
        """The value; raises ValueError for bytes that are not one."""


class JsonCodec:
    """Compact JSON in UTF-8. Tuples come back as lists, as always in JSON.

    Refused, because they would come back as something else: keys that are no text, NaN and infinities, and
    everything JSON has no form for (dates, decimals, bytes, sets, objects).

    Args:
        use_orjson: decode with orjson; None: when it is installed. What is stored is the same either way.
    """

    decode: Callable[[bytes], Any]

    def __init__(self, use_orjson: bool | None = None) -> None:
        self._dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
        self.decode = json.loads
        if use_orjson is not False:
            try:
                self.decode = importlib.import_module("orjson").loads
            except ImportError:
                if use_orjson:
                    raise UsageError("orjson is not installed") from None

    def encode(self, value: Any) -> bytes:
        """Serialise.

        Raises:
            Unserialisable: see the class.
        """
        try:
            _check_keys(value)
            data = self._dumps(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Unserialisable(f"No JSON for it: {error}") from error
        # orjson reads integers beyond 64 bits as floats; other readers of the cache do, too.
        if _LONG_NUMBER.search(data) and _has_long_number(value):
            raise Unserialisable("Integers beyond 64 bits don't survive in JSON: store them as text.")
        return data


class MsgpackCodec:
    """MessagePack: smaller, and it knows bytes. Needs the package ``msgpack``."""

    def __init__(self) -> None:
        try:
            self._msgpack: Any = importlib.import_module("msgpack")
        except ImportError:
            raise UsageError("MsgpackCodec needs the package msgpack") from None

    def encode(self, value: Any) -> bytes:
        """Serialise.

        Raises:
            Unserialisable: MessagePack has no form for it.
        """
        try:
            return bytes(self._msgpack.packb(value, use_bin_type=True))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Unserialisable(f"No MessagePack for it: {error}") from error

    def decode(self, data: bytes) -> Any:
        """The value.

        Raises:
            ValueError: not MessagePack.
        """
        try:
            return self._msgpack.unpackb(data, raw=False, strict_map_key=False)
        except Exception as error:
            raise ValueError(f"no MessagePack: {error}") from error


def choose(codec: object) -> Codec:
    """The codec an application asked for; None: JSON.

    Raises:
        UsageError: it can't serialise, or it is pickle.
    """
    if codec is None:
        return JsonCodec()
    name = getattr(codec, "__name__", type(codec).__name__)
    module = getattr(codec, "__module__", None) or name
    if any(
        "pickle" in part.lower() or part in ("dill", "marshal") for part in (name, str(module), str(codec))
    ):
        raise UsageError(WHY_NO_PICKLE)
    can = all(callable(getattr(codec, method, None)) for method in ("encode", "decode"))
    if isinstance(codec, type) or not can:
        raise UsageError("codec needs an object with encode(value) and decode(data), e.g. MsgpackCodec()")
    made: Codec = codec  # type: ignore[assignment]
    return made


def _check_keys(value: object) -> None:
    if isinstance(value, dict):
        # Joining is the quickest way to learn that all keys are text.
        "".join(value)
        items: Iterable[object] = value.values()
    elif isinstance(value, list | tuple):
        items = value
    else:
        return
    for item in items:
        if type(item) not in _LEAVES:
            _check_keys(item)


def _has_long_number(value: object) -> bool:
    if isinstance(value, int):
        return not -(2**63) <= value < 2**64
    if isinstance(value, dict):
        return any(_has_long_number(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_has_long_number(item) for item in value)
