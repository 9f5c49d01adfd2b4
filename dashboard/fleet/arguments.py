"""A command of the slow log without the values that applications wrote.

What is stored and shown is the command, its subcommand and its first key; everything else may be a card number or a
password and is only counted. Pure.
"""

import re
from collections.abc import Sequence

from dashboard.fleet.text import display

LONGEST_KEY = 256

_NOTHING_NAMED = frozenset({"AUTH", "HELLO", "ECHO", "PING", "MIGRATE"})
"""Their first argument is no key and may be secret."""
_CONTAINERS = frozenset(
    {
        "ACL",
        "CLIENT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "DEBUG",
        "FUNCTION",
        "LATENCY",
        "MEMORY",
        "MODULE",
        "OBJECT",
    }
    | {"PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO"}
)
_CONTAINERS_WITH_KEY = frozenset({"MEMORY", "OBJECT", "XGROUP", "XINFO"})
_KEY_AT = {
    # Behind the script or function and the number of keys.
    **dict.fromkeys(("EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"), 3),
    **dict.fromkeys(("BLMPOP", "BZMPOP"), 3),
    **dict.fromkeys(("LMPOP", "ZMPOP", "SINTERCARD", "ZINTERCARD", "ZDIFF", "ZINTER", "ZUNION", "BITOP"), 2),
}
_STREAM_READS = frozenset({"XREAD", "XREADGROUP"})
_WORD = re.compile(rb"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_CUT_VALUE = re.compile(rb"\.\.\. \(([0-9]{1,12}) more bytes\)$")
_CUT_LIST = re.compile(rb"\.\.\. \(([0-9]{1,12}) more arguments\)")


def without_values(arguments: Sequence[bytes]) -> str:
    """The command as one line: ``SET session:4711 (1 more argument, 37 bytes)``.

    Args:
        arguments: as SLOWLOG GET lists them, long values and lists already cut by the server.
    """
    if not arguments:
        return ""
    hidden = list(arguments[1:])
    command = arguments[0]
    if not _WORD.fullmatch(command):
        # Whatever that is, it is no command's name.
        return f"?{_more(arguments)}"
    name = command.decode().upper()
    shown = [command.decode()]
    if name in _CONTAINERS and hidden and _WORD.fullmatch(hidden[0]):
        shown.append(hidden.pop(0).decode())
    place = _place_of_key(name, hidden)
    if place is not None and place < len(hidden) and not _CUT_LIST.fullmatch(hidden[place]):
        shown.append(display(hidden.pop(place), LONGEST_KEY))
    return " ".join(shown) + _more(hidden)


def _place_of_key(name: str, arguments: Sequence[bytes]) -> int | None:
    """Where in the arguments the first key is."""
    if name in _NOTHING_NAMED or (name in _CONTAINERS and name not in _CONTAINERS_WITH_KEY):
        return None
    if name in _STREAM_READS:
        words = [argument.upper() for argument in arguments]
        return words.index(b"STREAMS") + 1 if b"STREAMS" in words else None
    place = _KEY_AT.get(name, 1) - 1
    # A script without keys: what follows are its arguments.
    return None if place == 2 and arguments[1:2] == [b"0"] else place


def _more(hidden: Sequence[bytes]) -> str:
    if not hidden:
        return ""
    number, size = 0, 0
    is_cut = False
    for argument in hidden:
        if rest := _CUT_LIST.fullmatch(argument):
            number += int(rest[1])
            is_cut = True
            continue
        number += 1
        if cut := _CUT_VALUE.search(argument):
            size += cut.start() + int(cut[1])
        else:
            size += len(argument)
    words = "1 more argument" if number == 1 else f"{number:,} more arguments"
    return f" ({words}, {'over ' if is_cut else ''}{size:,} {'byte' if size == 1 else 'bytes'})"
