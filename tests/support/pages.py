"""What browser tests and screenshots share: sign-in, the list of pages, what a page must not do."""

from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page, Request


@dataclass
class Watched:
    """Collects what a page must never do."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        # The browser itself logs every 4xx answer; a test that expects one checks it by its status.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"asked another host: {request.url}")


def sign_in(page: Page, url: str, name: str, password: str) -> None:
    """Sign in through the form."""
    page.goto(f"{url}/sign-in")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda address: "/sign-in" not in address)


def pages(cache_id: int) -> dict[str, str]:
    """Name and path of every page."""
    cache = f"/caches/{cache_id}"
    return {
        "overview": f"{cache}/overview?range=15m",
        "overview-6h": f"{cache}/overview?range=6h",
        "overview-30d": f"{cache}/overview?range=30d",
        "slow-log": f"{cache}/slow-log",
        "clients": f"{cache}/clients",
        "commands": f"{cache}/commands",
        "policies": f"{cache}/policies",
        "add-policy": f"{cache}/policies/add",
        "edit-default-policy": f"{cache}/policies/edit?prefix=",
        "edit-tier": f"{cache}/policies/tiers/edit?name=hot",
        "map-rows": f"{cache}/policies/rows/add",
        "test-key": f"{cache}/policies/test?key=product:1",
        "policies-draft": f"{cache}/policies/draft",
        "policy-versions": f"{cache}/policies/versions",
        "policy-instances": f"{cache}/policies/instances",
        "import-policies": f"{cache}/policies/import",
        "invalidate": f"{cache}/invalidate",
        "purge-limits": f"{cache}/invalidate/limits",
        "forecast": f"{cache}/forecast",
        "forecast-24h": f"{cache}/forecast?ahead=24h",
        "keys": f"{cache}/keys",
        "keys-open": f"{cache}/keys?q=product:&key=cHJvZHVjdDox",
        "keys-edit": f"{cache}/keys?key=cHJvZHVjdDox&edit=value",
        "scans": f"{cache}/keyspace",
        "scan-limits": f"{cache}/keyspace/limits",
        "lab": "/lab",
        "lab-scenario": "/lab/campaign",
        "lab-runs": "/lab/runs",
        "lab-rule": "/lab/stampede/rule",
        "connections": "/caches",
        "add-cache": "/caches/new",
        "edit-cache": f"{cache}/edit",
        "remove-cache": f"{cache}/remove",
        "users": "/users",
        "add-user": "/users/new",
        "audit": "/audit",
        "account": "/account",
        "settings": "/settings",
        "not-found": "/nowhere",
    }
