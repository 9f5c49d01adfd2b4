"""Redis' glob patterns, as far as the dashboard writes them itself: asterisks and escaped characters."""

import re

from dashboard.caching.policy import prefix_from_text


def matches(pattern: str, key: bytes) -> bool:
    """Whether a server would find a key by a pattern that is written as in forms."""
    made = b""
    for asterisk, escaped, plain in re.findall(
        rb"(\*)|\\(.)|([^\\*?\[])", prefix_from_text(pattern), re.DOTALL
    ):
        made += b".*" if asterisk else re.escape(escaped or plain)
    return re.fullmatch(made, key, re.DOTALL) is not None
