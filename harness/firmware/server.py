"""The device's own server, as its web page drives it: HTTP and JSON.

The calls, and what they mean, are read from NanoKVM's public sources (server/service/storage,
server/service/vm): each answer is {"code": 0, "msg": "success", "data": ...}, with another code
for what was refused, and HTTP status 200 for both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx

from harness.errors import NotJudged, Refused, ServerFault
from harness.owner import printable, run_tool

IMAGE = "/api/storage/image"
MOUNT = "/api/storage/image/mount"
MOUNTED = "/api/storage/image/mounted"
CDROM = "/api/storage/cdrom"
DELETE = "/api/storage/image/delete"
VIRTUAL = "/api/vm/device/virtual"

LOGIN = "/api/auth/login"
TOKEN = "nano-kvm-token"
"""The cookie that a server wants to see, unless /etc/kvm/server.yaml says that it does not."""

FACTORY = ("admin", "admin")
"""User and password of a device on which nobody has set others (/etc/kvm/pwd)."""

_SECRET = "nanokvm-sipeed-2024"
"""With this the web page encrypts a password (web/src/lib/encrypt.ts)."""

_TOKEN_TEXT = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,4096}")
"""What the value of a cookie can be (RFC 6265, 4.1.1, cookie-octet)."""

DISK_NAMES = ("media", "disk")
"""What the virtual disk of /boot/usb.disk0 is called: "disk", but "media" by releases in which
"disk" is a second one (server/service/vm/virtual-device.go)."""


class NoSuchCall(ServerFault):
    """The server knows nothing of this call: HTTP status 404."""


class Server:
    """A client of the device's own server.

    Each call raises Refused when the server says that it did not do what it was asked, and
    ServerFault when it is gone, does not answer, or answers what its own web page could not
    understand. One that wants a token is logged in to as in its factory state; NotJudged is raised
    when it does not let us.
    """

    def __init__(
        self, transport: httpx.BaseTransport, told: Callable[[str, str], None] = lambda a, b: None
    ) -> None:
        """`transport` leads to the device; `told` is given each request and its answer."""
        # It never leaves the transport: the address is what a request must have.
        self._client = httpx.Client(transport=transport, base_url="http://device", trust_env=False)
        self._told = told
        self._disk_name = ""
        self._logged_in = False

    def images(self) -> list[str]:
        """The images that it offers, by path."""
        files = self._asked("GET", IMAGE, "the list of images")["files"]
        if not isinstance(files, list | None):
            raise ServerFault("the server was asked the list of images: it gave none")
        # Of a Go program an empty list is null.
        return [str(file) for file in files or ()]

    def mount(self, file: str, *, cdrom: bool = False) -> None:
        """Put an image into the drive, as a disk or as a CD-ROM."""
        what = f"to mount {printable(file)} as a {'CD-ROM' if cdrom else 'disk'}"
        self._ask("POST", MOUNT, what, {"file": file, "cdrom": cdrom})

    def unmount(self) -> None:
        """Take the medium out."""
        self._ask("POST", MOUNT, "to unmount", {"file": "", "cdrom": False})

    def mounted(self) -> str:
        """The path of the image that it says is in the drive, or ""."""
        return str(self._asked("GET", MOUNTED, "what is mounted")["file"])

    def is_cdrom(self) -> bool:
        """Whether it says that the drive is a CD-ROM drive."""
        return bool(self._asked("GET", CDROM, "whether the drive is a CD-ROM drive")["cdrom"])

    def delete(self, file: str) -> None:
        """Delete an image. Raises NotJudged for a release that has no such call."""
        try:
            self._ask("POST", DELETE, f"to delete {printable(file)}", {"file": file})
        except NoSuchCall as error:
            raise NotJudged(f"this release cannot delete images: {error}") from error

    def has_disk(self) -> bool:
        """Whether it says that the virtual disk is on."""
        return self._disk()[1]

    def toggle_disk(self) -> bool:
        """Switch the virtual disk on or off; whether it says that it is on now."""
        name = self._disk_name or self._disk()[0]
        return bool(self._asked("POST", VIRTUAL, "to toggle the disk", {"device": name})["on"])

    def _disk(self) -> tuple[str, bool]:
        devices = self._asked("GET", VIRTUAL, "which virtual devices are on")
        self._disk_name = next((n for n in DISK_NAMES if n in devices), DISK_NAMES[-1])
        return self._disk_name, bool(devices[self._disk_name])

    def _log_in(self) -> None:
        user, password = FACTORY
        body = {"username": user, "password": encrypted(password)}
        try:
            data = self._ask("POST", LOGIN, "to log in", body)
        except Refused as refused:
            raise NotJudged(
                f"the server wants a login, and does not take that of its factory state "
                f"({user}, {password}): {refused.message}; --overlay can bring an "
                "/etc/kvm/server.yaml with 'authentication: disable'"
            ) from refused
        self._logged_in = True
        # Newer releases set the cookie themselves; older ones leave that to their web page.
        cookies = [str(c.value) for c in self._client.cookies.jar if c.name == TOKEN]
        given = _Data(data if isinstance(data, dict) else {}, "to log in")
        token = cookies[0] if cookies else str(given["token"])
        if not _TOKEN_TEXT.fullmatch(token):
            raise ServerFault(
                f"the server was asked to log in: its token is none: {printable(token, 100)}"
            )
        self._client.cookies.clear()
        self._client.cookies.set(TOKEN, token)

    def _asked(
        self, method: str, path: str, what: str, body: dict[str, Any] | None = None
    ) -> _Data:
        data = self._ask(method, path, what, body)
        return _Data(data if isinstance(data, dict) else {}, what)

    def _ask(self, method: str, path: str, what: str, body: dict[str, Any] | None = None) -> Any:
        sent = "" if body is None else json.dumps(body)
        request = f"{method} {path} {sent}".rstrip()
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            self._told(request, f"{type(error).__name__}: {error}")
            raise ServerFault(f"the server was asked {what}: {printable(str(error))}") from error
        # As text whatever it calls itself: JSON is UTF-8 (RFC 8259, 8.1).
        text = answer.content.decode("utf-8", "replace")
        self._told(request, f"{answer.status_code} {text}")
        wants_token = answer.status_code == httpx.codes.UNAUTHORIZED and path != LOGIN
        if wants_token and not self._logged_in:
            self._log_in()
            return self._ask(method, path, what, body)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NoSuchCall(f"the server was asked {what}: HTTP status 404")
        if answer.status_code != httpx.codes.OK:
            raise ServerFault(f"the server was asked {what}: HTTP status {answer.status_code}")
        try:
            said = json.loads(text)
            code, message, data = said["code"], str(said["msg"]), said.get("data")
            if type(code) is not int:
                raise TypeError("its code is no number")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ServerFault(
                f"the server was asked {what}: its answer is not what its web page expects: "
                f"{printable(text, 200) or 'nothing'}"
            ) from error
        if code != 0:
            raise Refused(what, code, printable(message, 200))
        return data


def encrypted(password: str) -> str:
    """A password as the web page sends it: AES-256-CBC, OpenSSL's own format, base64, URL-quoted.

    That is CryptoJS.AES.encrypt with a passphrase: a salt, and key and start from EVP_BytesToKey
    with MD5. Raises ToolError.
    """
    cipher = ["openssl", "enc", "-aes-256-cbc", "-md", "md5", "-base64", "-A"]
    command = [*cipher, "-pass", f"pass:{_SECRET}"]
    # openssl warns on standard error of a derivation that is out of date, and this one is.
    said = run_tool(command, package="openssl", given=password.encode())
    return quote(said.decode("ascii").strip(), safe="")


class _Data:
    """The "data" of an answer."""

    def __init__(self, data: dict[str, Any], what: str) -> None:
        self._data = data
        self._what = what

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def __getitem__(self, name: str) -> Any:
        if name not in self._data:
            raise ServerFault(f"the server was asked {self._what}: its answer has no {name!r}")
        return self._data[name]
