"""Where to go after signing in. Pure."""

from urllib.parse import urlsplit

HOME = "/"
_LONGEST = 2000
_NOT_AGAIN = ("/sign-in", "/sign-out", "/welcome")


def local_path(wanted: str | None) -> str:
    """The wanted address if it certainly leads to this dashboard, otherwise ``/``.

    Taken are paths with one slash in front, in printable ASCII without backslash. All else could be read
    by some browser as another host: ``//host``, ``/\\host``, ``https:host``, a tab in between.
    """
    if not wanted or len(wanted) > _LONGEST:
        return HOME
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return HOME
    if any(not "!" <= char <= "~" for char in wanted):
        return HOME
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return HOME
    # "/.//host" becomes "//host" once dots are resolved.
    if parts.scheme or parts.netloc or "//" in parts.path:
        return HOME
    return HOME if parts.path.rstrip("/") in _NOT_AGAIN else wanted
