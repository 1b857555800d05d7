"""HTTP with the device's own server, through the shell of the gadget VM.

Neither this machine nor the VM's network has a part in it: the request is bytes on the serial
console, and so is the answer. So nothing listens on a TCP port of this machine.
"""

from __future__ import annotations

import base64

import h11
import httpx

from harness.errors import RigFault, ServerFault
from harness.gadget.vm import SHELL_SECONDS, GadgetVm, Starving
from harness.owner import printable

ANSWER_SECONDS = 20
"""How long an answer may take, in the VM's time. Mounting takes a real device half of one."""

ANSWER_LIMIT = 128 << 10
"""Bytes. The longest honest answer is a list of images; the console carries 100 KB a second."""

LISTEN_SECONDS = 30
"""How long a server may take to listen, in the VM's time. A real one takes two."""

_CHUNK = 3000
"""Characters of base64 in one command line; a terminal takes 4095 (harness/console.py)."""


class ShellTransport(httpx.BaseTransport):
    """Carries requests of httpx's to port 80 of the device, one at a time."""

    def __init__(self, vm: GadgetVm) -> None:
        """For a device on which a server listens."""
        self._vm = vm

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Ask, and read the answer to its end.

        Raises httpx.ConnectError when nobody listens, httpx.ReadTimeout when there is no whole
        answer in time, httpx.RemoteProtocolError for one that is no HTTP; RigFault when the VM
        had too little of this machine for it.
        """
        connection = h11.Connection(h11.CLIENT)
        left_out = (b"connection", b"accept-encoding")
        headers = [(n, v) for n, v in request.headers.raw if n.lower() not in left_out]
        headers.append((b"Connection", b"close"))
        asked = h11.Request(method=request.method, target=request.url.raw_path, headers=headers)
        spoken = [
            connection.send(asked),
            connection.send(h11.Data(data=request.read())),
            connection.send(h11.EndOfMessage()),
        ]
        said = self._exchange(b"".join(filter(None, spoken)), request)
        if not said:
            why = "it closed the connection without an answer"
            raise httpx.RemoteProtocolError(why, request=request)
        connection.receive_data(said)
        connection.receive_data(b"")
        try:
            return _response(connection, request)
        except h11.RemoteProtocolError as error:
            seen = printable(said[:60].decode("latin-1"))
            raise httpx.RemoteProtocolError(
                f"no HTTP: {seen} ({error})", request=request
            ) from error

    def _exchange(self, spoken: bytes, request: httpx.Request) -> bytes:
        vm = self._vm
        words = base64.b64encode(spoken).decode("ascii")
        for i in range(0, len(words), _CHUNK):
            part, into = words[i : i + _CHUNK], ">>" if i else ">"
            vm.shell(f"echo {part} {into}/run/request", SHELL_SECONDS, "the gadget VM's shell")
        starving = Starving(vm)
        command = f"/lib/bootgate/talk {ANSWER_SECONDS} {ANSWER_LIMIT}"
        answer = vm.shell(command, ANSWER_SECONDS * 2 + SHELL_SECONDS, "the device's server")
        how, _, rest = answer.text.strip().partition("\n")
        try:
            said = base64.b64decode(rest)
        except ValueError as error:  # binascii.Error among them
            raise RigFault(f"the gadget VM garbled an answer of the server: {error}") from error
        if how == "refused":
            raise httpx.ConnectError("nobody listens on its port 80", request=request)
        if how == "timeout":
            starving.check(f"the server did not answer within {ANSWER_SECONDS} s", ANSWER_SECONDS)
            came = f"{len(said)} bytes came" if said else "nothing came"
            raise httpx.ReadTimeout(f"no answer after {ANSWER_SECONDS} s, {came}", request=request)
        if len(said) >= ANSWER_LIMIT:
            raise httpx.RemoteProtocolError(
                f"an answer of more than {ANSWER_LIMIT >> 10} KiB", request=request
            )
        if how != "closed":
            raise RigFault(f"the gadget VM says of a connection: {printable(how)}")
        return said


def _response(connection: h11.Connection, request: httpx.Request) -> httpx.Response:
    head: h11.Response | None = None
    body = []
    while True:
        match connection.next_event():
            case h11.Response() as event:
                head = event
            case h11.Data(data=data):
                body.append(bytes(data))
            case h11.EndOfMessage():
                break
            case h11.ConnectionClosed() | h11.NEED_DATA:
                raise h11.RemoteProtocolError("it closed the connection before the end")
    assert head is not None  # h11 gives no end of a message that has not begun
    # None was asked for, and what a hostile server packs may have no end.
    headers = [(n, v) for n, v in head.headers if n.lower() != b"content-encoding"]
    return httpx.Response(
        head.status_code, headers=headers, content=b"".join(body), request=request
    )


def start_server(vm: GadgetVm) -> None:
    """Start the device's own server, and wait until it listens.

    Raises ServerFault when it ends or never listens, RigFault when the VM had too little of this
    machine for it.
    """
    vm.served = True
    starving = Starving(vm)
    answer = vm.shell(
        f"/lib/bootgate/serve {LISTEN_SECONDS}", LISTEN_SECONDS * 2 + SHELL_SECONDS, "the server"
    )
    how = (answer.text.split() or [""])[0]
    if how == "listening":
        return
    if how == "timeout":
        starving.check(f"the server does not listen after {LISTEN_SECONDS} s", LISTEN_SECONDS)
    said = vm.shell("tail -n 1 /run/server.log", SHELL_SECONDS, "the server's log").text.strip()
    words = f", its last words: {printable(said, 200)}" if said else " and printed nothing"
    if how == "timeout":
        raise ServerFault(f"the server does not listen on port 80 after {LISTEN_SECONDS} s{words}")
    if how == "ended":
        status = printable(answer.text.strip().removeprefix("ended").strip(), 20)
        raise ServerFault(f"the server ended with status {status}{words}")
    raise RigFault(f"the gadget VM says of the server: {printable(answer.text.strip())}")
