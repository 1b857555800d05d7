"""The device's own server: what a client makes of its answers, and servers that misbehave."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import httpx
import pytest
from conftest import Validate

from harness.console import Answer
from harness.equipment import prepare
from harness.errors import NotJudged, Refused, RigFault, ServerFault, Untrue, UsageError
from harness.firmware import Gate, open_firmware
from harness.firmware.nanokvm import SERVER_IN_TREE
from harness.firmware.program import libraries, machine_of
from harness.firmware.server import Server
from harness.firmware.supplied import supplied
from harness.gadget import http
from harness.gadget.http import ANSWER_LIMIT, ANSWER_SECONDS, ShellTransport, start_server
from harness.gadget.vm import GadgetVm
from harness.observation import ServerAnswered
from harness.outcome.kinds import MEDIUM, Booted
from harness.owner import find_tool
from harness.rig import Rig
from images.payload import write_boot_disk

IMAGE = "/data/boot.img"


# --- the client -----------------------------------------------------------------------------


def answering(status: int = 200, **answer: Any) -> Server:
    """A client of a server that answers this to everything."""
    return Server(httpx.MockTransport(lambda request: httpx.Response(status, json=answer)))


def saying(text: str, kind: str = "application/json") -> Server:
    headers = {"Content-Type": kind}
    answer = httpx.Response(200, content=text.encode(), headers=headers)
    return Server(httpx.MockTransport(lambda request: answer))


def test_requests_are_those_of_the_web_page() -> None:
    asked: list[tuple[str, str, Any]] = []
    answers = {
        "/api/storage/image": {"files": ["/data/a.iso"]},
        "/api/storage/image/mounted": {"file": IMAGE},
        "/api/storage/cdrom": {"cdrom": 1},
        "/api/vm/device/virtual": {"network": True, "disk": True, "on": False},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        asked.append((request.method, request.url.path, body))
        data = answers.get(request.url.path)
        return httpx.Response(200, json={"code": 0, "msg": "success", "data": data})

    server = Server(httpx.MockTransport(answer))
    assert server.images() == ["/data/a.iso"]
    assert server.mounted() == IMAGE
    assert server.is_cdrom()
    assert server.has_disk()
    assert not server.toggle_disk()
    server.mount(IMAGE, cdrom=True)
    server.unmount()
    server.delete(IMAGE)
    assert asked[4:] == [
        ("POST", "/api/vm/device/virtual", {"device": "disk"}),
        ("POST", "/api/storage/image/mount", {"file": IMAGE, "cdrom": True}),
        ("POST", "/api/storage/image/mount", {"file": "", "cdrom": False}),
        ("POST", "/api/storage/image/delete", {"file": IMAGE}),
    ]


TOKEN_OF_LOGIN = "some.token"


def guarded(taken: str, *, sets_cookie: bool = False) -> tuple[Server, list[str]]:
    """A client of a server that wants a token, and takes this password; and what it was asked.

    The token comes as data, or as a cookie, as of 2026.
    """
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path == "/api/auth/login":
            said = json.loads(request.content)
            right = said["username"] == "admin" and decrypted(said["password"]) == taken
            data = None if sets_cookie else {"token": TOKEN_OF_LOGIN}
            words = {"code": 0, "msg": "success", "data": data}
            cookie = f"nano-kvm-token={TOKEN_OF_LOGIN}; Path=/; HttpOnly; SameSite=Strict"
            headers = {"Set-Cookie": cookie} if right and sets_cookie else {}
            no = {"code": -2, "msg": "invalid username or password", "data": None}
            return httpx.Response(200, json=words if right else no, headers=headers)
        if request.headers.get("Cookie") != f"nano-kvm-token={TOKEN_OF_LOGIN}":
            return httpx.Response(401, json="unauthorized")
        return httpx.Response(200, json={"code": 0, "msg": "success", "data": {"file": IMAGE}})

    return Server(httpx.MockTransport(answer)), asked


def decrypted(password: str) -> str:
    """As the device does: server/utils/encrypt.go."""
    command = ["openssl", "enc", "-d", "-aes-256-cbc", "-md", "md5", "-base64", "-A"]
    done = subprocess.run(
        [*command, "-pass", "pass:nanokvm-sipeed-2024"],
        input=unquote(password),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("sets_cookie", [True, False])
def test_a_server_that_wants_a_token_is_logged_in_to_once(sets_cookie: bool) -> None:
    server, asked = guarded("admin", sets_cookie=sets_cookie)
    assert server.mounted() == IMAGE
    assert server.mounted() == IMAGE
    mounted = "/api/storage/image/mounted"
    assert asked == [mounted, "/api/auth/login", mounted, mounted]


def test_a_server_that_lets_nobody_in_is_not_judged() -> None:
    with pytest.raises(NotJudged, match=r"wants a login.*invalid username or password"):
        guarded("another")[0].mounted()


@pytest.mark.parametrize("token", ["a\nb", "\ud800", "", "a b", "a;b", "x" * 5000])
def test_a_token_that_no_cookie_can_hold(token: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/auth/login":
            said = json.dumps({"code": 0, "msg": "", "data": {"token": token}})
            return httpx.Response(200, content=said.encode())
        return httpx.Response(401, json="unauthorized")

    with pytest.raises(ServerFault, match="its token is none"):
        Server(httpx.MockTransport(answer)).mounted()


def test_two_cookies_of_one_name_are_no_matter() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/auth/login":
            cookies = [("Set-Cookie", f"nano-kvm-token=t; Path={path}") for path in ("/", "/api")]
            return httpx.Response(200, json={"code": 0, "msg": ""}, headers=cookies)
        if "nano-kvm-token=t" not in request.headers.get("Cookie", ""):
            return httpx.Response(401, json="unauthorized")
        return httpx.Response(200, json={"code": 0, "msg": "", "data": {"file": IMAGE}})

    assert Server(httpx.MockTransport(answer)).mounted() == IMAGE


def test_a_release_that_cannot_delete_is_not_judged() -> None:
    with pytest.raises(NotJudged, match="cannot delete images"):
        answering(404, code=0, msg="").delete(IMAGE)
    with pytest.raises(ServerFault, match="HTTP status 404"):
        answering(404, code=0, msg="").mount(IMAGE)


@pytest.mark.parametrize("logs_in", [True, False])
def test_a_server_that_takes_no_token_is_asked_for_one_once(logs_in: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if logs_in and request.url.path == "/api/auth/login":
            return httpx.Response(200, json={"code": 0, "msg": "", "data": {"token": "t"}})
        return httpx.Response(401, json="unauthorized")

    with pytest.raises(ServerFault, match="HTTP status 401"):
        Server(httpx.MockTransport(answer)).mounted()


def test_the_virtual_disk_is_called_media_by_some_releases() -> None:
    named = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            named.append(json.loads(request.content)["device"])
        data = {"network": False, "media": False, "disk": True, "on": True}
        return httpx.Response(200, json={"code": 0, "msg": "success", "data": data})

    server = Server(httpx.MockTransport(answer))
    assert not server.has_disk()
    assert server.toggle_disk()
    assert named == ["media"]


def test_an_empty_list_is_null_to_a_go_program() -> None:
    assert answering(code=0, msg="success", data={"files": None}).images() == []


def test_what_is_refused_says_so_though_the_status_is_200() -> None:
    with pytest.raises(Refused) as caught:
        answering(code=-2, msg="no\x1b").mount(IMAGE)
    assert "to mount /data/boot.img as a disk: code -2, no\\x1b" in str(caught.value)
    assert caught.value.code == -2


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (answering(500, code=0, msg="success"), "HTTP status 500"),
        (answering(msg="success"), "not what its web page expects"),
        (answering(code="x", msg="success"), "not what its web page expects"),
        (answering(code=0, msg="success", data=None), "its answer has no 'file'"),
        (answering(code=0, msg="success", data=[1]), "its answer has no 'file'"),
        (saying("<html>\x1b"), "not what its web page expects: <html>\\x1b"),
        (saying(""), "not what its web page expects: nothing"),
        (saying("[]"), "not what its web page expects: []"),
        (saying("[" * 100_000), "not what its web page expects: [[["),
        (saying('{"code":1e999,"msg":""}'), "not what its web page expects"),
        (saying('{"code":false,"msg":""}'), "not what its web page expects"),
        (saying("x", "text/html; charset=zlib"), "not what its web page expects: x"),
    ],
)
def test_what_no_web_page_understands(server: Server, words: str) -> None:
    with pytest.raises(ServerFault) as caught:
        server.mounted()
    assert words in str(caught.value)
    assert not isinstance(caught.value, Refused)


# --- the way there --------------------------------------------------------------------------


class Shell:
    """The shell of a gadget VM whose server says this; `starved` for so long meanwhile."""

    def __init__(self, said: bytes = b"", how: str = "closed", starved: float = 0.0) -> None:
        self.said, self.how = said, how
        self.lacked = [0.0, starved]
        self.asked = b""
        self.commands: list[str] = []
        self.served = False

    @property
    def starved(self) -> float:
        return self.lacked.pop(0)

    def shell(self, command: str, seconds: float, what: str) -> Answer:
        self.commands.append(command)
        if command.startswith("echo "):
            self.asked += command.split()[1].encode()
            return Answer(0, "")
        if "/talk " in command:
            return Answer(0, f"{self.how}\n{base64.encodebytes(self.said).decode()}")
        return Answer(0, self.how if "/serve " in command else "its last words\n")

    def as_vm(self) -> GadgetVm:
        return cast(GadgetVm, self)


def client(shell: Shell) -> Server:
    return Server(ShellTransport(shell.as_vm()))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FINE = b'{"code":0,"msg":"success","data":{"file":"/data/a.iso"}}'


@pytest.mark.parametrize(
    "said",
    [
        HEAD + b"Content-Length: %d\r\n\r\n" % len(FINE) + FINE,
        HEAD + b"Connection: close\r\n\r\n" + FINE,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(FINE) + FINE + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"\r\n" + FINE,
    ],
)
def test_an_answer_as_servers_give_it(said: bytes) -> None:
    shell = Shell(said)
    assert client(shell).mounted() == "/data/a.iso"
    head, _, body = base64.b64decode(shell.asked).partition(b"\r\n\r\n")
    assert head.startswith(b"GET /api/storage/image/mounted HTTP/1.1\r\n")
    assert b"Connection: close" in head
    assert body == b""


def test_a_list_that_is_none() -> None:
    with pytest.raises(ServerFault, match="list of images"):
        answering(code=0, msg="success", data={"files": 5}).images()


def test_what_nobody_asked_to_be_packed_is_not_unpacked() -> None:
    bomb = gzip.compress(gzip.compress(bytes(100 << 20)))
    shell = Shell(HEAD + b"Content-Encoding: gzip, gzip\r\n\r\n" + bomb)
    with pytest.raises(ServerFault, match="not what its web page expects"):
        client(shell).mounted()
    assert b"Accept-Encoding" not in base64.b64decode(shell.asked)


def test_a_long_request_takes_several_lines() -> None:
    fine = b'{"code":0,"msg":"success"}'
    shell = Shell(HEAD + b"\r\n" + fine)
    client(shell).mount("/data/" + "x" * 6000)
    assert ">/run/request" in shell.commands[0]
    assert all(">>/run/request" in line for line in shell.commands[1:-1])
    assert len(shell.commands) > 3
    assert all(len(line) < 4000 for line in shell.commands)
    _, _, body = base64.b64decode(shell.asked).partition(b"\r\n\r\n")
    assert json.loads(body) == {"file": "/data/" + "x" * 6000, "cdrom": False}


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        (Shell(how="refused"), "nobody listens on its port 80"),
        (Shell(how="timeout"), f"no answer after {ANSWER_SECONDS} s, nothing came"),
        (Shell(HEAD, how="timeout"), f"no answer after {ANSWER_SECONDS} s, {len(HEAD)} bytes"),
        (Shell(b"x" * ANSWER_LIMIT), f"more than {ANSWER_LIMIT >> 10} KiB"),
        (Shell(b"SSH-2.0-x\r\n\x1b"), "no HTTP: SSH-2.0-x\\r\\n\\x1b"),
        (Shell(b""), "closed the connection without an answer"),
        (Shell(HEAD + b"Content-Length: 99\r\n\r\n" + FINE), "HTTP/1.1 200 OK"),
        (Shell(HEAD), "HTTP/1.1 200 OK"),
    ],
)
def test_no_answer_or_none_of_http(shell: Shell, words: str) -> None:
    with pytest.raises(ServerFault) as caught:
        client(shell).mounted()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        (Shell(how="timeout", starved=ANSWER_SECONDS * 0.7), "had no processor"),
        (Shell(how="sh: /lib/bootgate/talk: not found"), "the gadget VM says"),
    ],
)
def test_what_is_the_rigs_fault(shell: Shell, words: str) -> None:
    with pytest.raises(RigFault, match=words):
        client(shell).mounted()


@pytest.mark.parametrize(
    ("how", "starved", "error", "words"),
    [
        ("ended 3", 0.0, ServerFault, "ended with status 3, its last words: its last words"),
        ("timeout", 0.0, ServerFault, "does not listen on port 80"),
        ("timeout", 30.0, RigFault, "had no processor"),
        ("sh: not found", 0.0, RigFault, "the gadget VM says"),
    ],
)
def test_a_server_that_does_not_come_up(
    how: str, starved: float, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        start_server(Shell(how=how, starved=starved).as_vm())


# --- on the rig -----------------------------------------------------------------------------


@contextmanager
def rig_with(
    folder: Path,
    script: str | None,
    *,
    server: Path | None = None,
    overlay: Path | None = None,
    parts: Mapping[str, str] | None = None,
) -> Iterator[Rig]:
    """A rig whose firmware is `fixed` with this script for a server, None for no server.

    `server` and `overlay` are what the user brings; `parts` are added to the shipped server, which
    stays then.
    """
    tree = folder / "tree"
    shutil.copytree(open_firmware("fixed", folder / "fixed").kvmapp, tree)
    program = tree / SERVER_IN_TREE
    for name, part in (parts or {}).items():
        (tree / "server" / "api" / name).write_text(part)
    if not parts:
        program.unlink()
    if script is not None:
        program.write_text(script)
        program.chmod(0o755)
    opened = open_firmware(str(tree), folder / "firmware")
    firmware = supplied(opened, folder / "supplied", server=server, overlay=overlay)
    scratch, evidence = folder / "scratch", folder / "evidence"
    scratch.mkdir(mode=0o700)
    evidence.mkdir()
    image = folder / "boot.img"
    write_boot_disk(image, MEDIUM)
    with closing(Rig(prepare(firmware, "seabios", folder, print), scratch, evidence)) as rig:
        rig.gadget.start(gate=Gate.EMPTY, media=[image])
        yield rig


def listening(answer: str) -> str:
    """A server that answers each connection with what this shell command prints."""
    return f"#!/bin/sh\necho '{answer}' >/tmp/answer\nexec nc -ll -p 80 -e sh /tmp/answer\n"


SUCCESS = (
    'printf "HTTP/1.1 200 OK\\r\\n\\r\\n"; '
    'echo "{\\"code\\":0,\\"msg\\":\\"success\\",\\"data\\":{\\"file\\":\\"\\"}}"'
)


@pytest.mark.rig
@pytest.mark.parametrize(
    ("server", "words"),
    [
        pytest.param("#!/bin/sh\necho no $0 today\nexit 7\n", "ended with status 7", id="ends"),
        pytest.param("#!/bin/sh\nexec sleep 1000\n", "does not listen", id="never_listens"),
        pytest.param(listening("exec sleep 1000"), "no answer after 2 s, nothing came", id="hangs"),
        pytest.param(listening("yes"), "KiB", id="floods"),
        pytest.param(listening("head -c 99 /dev/urandom"), "to mount", id="babbles"),
        pytest.param(listening("kill $PPID"), "to mount", id="dies"),
        pytest.param(listening(SUCCESS), "lun.0/file holds nothing", id="does_nothing"),
    ],
)
def test_a_server_that_misbehaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, words: str
) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 2)
    monkeypatch.setattr(http, "LISTEN_SECONDS", 2)

    def mount(rig: Rig) -> None:
        served = rig.gadget.serve()
        served.mount(IMAGE)
        served.check_told(IMAGE)

    with rig_with(tmp_path, server) as rig:
        with pytest.raises(ServerFault) as caught:
            mount(rig)
        assert words in str(caught.value)
        assert rig.gadget.luns, "the rig goes on"


@pytest.mark.rig
def test_a_server_that_dies_is_gone(tmp_path: Path) -> None:
    with rig_with(tmp_path, listening("kill $PPID")) as rig:
        served = rig.gadget.serve()
        for words in ("without an answer", "nobody listens"):
            with pytest.raises(ServerFault, match=words):
                served.mounted()
        answers = [o.answer for o in rig.recorder.seen() if isinstance(o, ServerAnswered)]
    assert len(answers) == 2
    assert (tmp_path / "evidence" / "gadget-server.log").exists()


@pytest.mark.rig
def test_a_server_that_fails_before_there_is_a_pc(validate: Validate, tmp_path: Path) -> None:
    """The outcome is what a PC does with the drive all the same."""
    tree = open_firmware("fixed", tmp_path / "tree").kvmapp
    part = "toggle_device() { answer_error -3 'not today'; }\n"
    (tree / "server/api/zz_no_toggle.sh").write_text(part)
    run = validate("--firmware", str(tree), "-k", "EMPTY-3/ehci", controlled=False)
    (case,) = run.results["cases"]
    assert run.status == 1
    assert "not today" in case["reason"]
    assert case["outcome"]["kind"] == "booted"
    assert case["code_path"] == "toggle"
    assert "EMPTY-3 is BROKEN by its toggle (" in run.stdout


@pytest.mark.rig
@pytest.mark.parametrize(
    ("part", "judgement", "words"),
    [
        ("kill $PPID; exit", "broken", "closed the connection without an answer"),
        ("answer_error -2 busy", "not_judged", "code -2, busy: nothing befell the host on its way"),
    ],
)
def test_a_server_that_fails_while_the_pc_boots(
    validate: Validate, tmp_path: Path, part: str, judgement: str, words: str
) -> None:
    """The PC goes on with the drive as it is, and that is the outcome."""
    tree = open_firmware("fixed", tmp_path / "tree").kvmapp
    (tree / "server/api/zz_no_mount.sh").write_text(f"mount_image() {{ {part}; }}\n")
    chosen = ["-k", "LIFE-2/quick_unmount-08"]
    run = validate("--firmware", str(tree), *chosen, controlled=False)
    (case,) = run.results["cases"]
    assert case["judgement"] == judgement, run.stdout
    assert words in case["reason"]
    assert (case["outcome"]["kind"], case["outcome"]["medium"]) == ("booted", "medium")


HASTY = """
mount_image() {
    body_is_json && file=$(json_string file)
    (
        sleep 1
        printf '%s' "${file%.}" >"$lun/file"
    ) >/dev/null 2>&1 </dev/null &
    answer_success
}
"""


@pytest.mark.rig
def test_a_server_that_answers_first_has_its_time(tmp_path: Path) -> None:
    with rig_with(tmp_path, None, parts={"zz_hasty.sh": HASTY}) as rig:
        rig.gadget.serve().mount(IMAGE)
        boot = rig.host.boot("ehci")
    assert boot.outcome == Booted(MEDIUM), boot.explain()


SAYS = "toggle_device() { answer_success '{\"on\":%s}'; }\n"

SWITCHES_OFF = """
toggle_device() {
    (
        sleep %s
        run_init_script stop
        rm -f /boot/usb.disk0
        drop_function mass_storage.disk0
        sleep %s
        run_init_script start
    ) >/dev/null 2>&1 </dev/null %s
    answer_success '{"on":%s}'
}
"""


@pytest.mark.rig
@pytest.mark.parametrize(
    ("part", "words"),
    [
        (SAYS % "true", "switched off; the server says that it is on"),
        (SAYS % "false", "said that the disk is off; the gadget has mass_storage.disk0"),
        (SWITCHES_OFF % (0, 0, "", "true"), "said that the disk is on; the gadget has no drive"),
        (SWITCHES_OFF % (0, 0, "", "false"), None),
        (SWITCHES_OFF % (0.5, 0.5, "&", "false"), None),
    ],
    ids=["stays_on", "stays_on_and_says_off", "off_and_says_on", "off", "off_after_its_answer"],
)
def test_a_toggle_is_held_against_the_gadget(tmp_path: Path, part: str, words: str | None) -> None:
    with rig_with(tmp_path, None, parts={"zz_part.sh": part}) as rig:
        server = rig.gadget.serve()
        with pytest.raises(Untrue, match=words) if words else nullcontext():
            server.switch_disk(on=False)
        assert rig.gadget.plugged, "whoever comes next sees the gadget"


REFUSES_AND_EMPTIES = """
mount_image() {
    printf '\\n' >"$lun/file"
    answer_error -2 busy
}
"""


@pytest.mark.rig
@pytest.mark.parametrize(
    ("part", "touched"),
    [(REFUSES_AND_EMPTIES, True), ("mount_image() { answer_error -2 x; }\n", False)],
)
def test_a_refusal_that_did_something_counts(tmp_path: Path, part: str, touched: bool) -> None:
    with rig_with(tmp_path, None, parts={"zz_part.sh": part}) as rig:
        rig.gadget.put_in_drive(IMAGE)
        gone = []
        with nullcontext() if touched else pytest.raises(Refused):
            rig.gadget.change_medium(False, lambda: gone.append(True))
        assert gone
        assert (rig.gadget.luns[0].file == "") == touched


@pytest.mark.rig
def test_a_tree_without_a_server_judges_nothing_that_needs_one(tmp_path: Path) -> None:
    with (
        rig_with(tmp_path, None) as rig,
        pytest.raises(NotJudged, match="no server supplied"),
    ):
        rig.gadget.serve()


# --- brought by the user --------------------------------------------------------------------

PROGRAM = """
        bits 64
        org 0x400000
        db 0x7f, "ELF", 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        dw 2, 62
        dd 1
        dq start, 64, 0
        dd 0
        dw 64, 56, 1, 0, 0, 0
        dd 1, 5
        dq 0, 0x400000, 0x400000, end - 0x400000, end - 0x400000, 0x1000
start:  lea rdi, [rel shell]
        lea rsi, [rel words]
        xor edx, edx
        mov eax, 59             ; execve
        syscall
shell:  db "/bin/sh", 0
script: db "/etc/kvm/serve", 0
words:  dq shell, script, 0
end:
"""
"""A static program that hands over to a script."""


def built(folder: Path) -> Path:
    source, program = folder / "program.asm", folder / "program"
    source.write_text(PROGRAM)
    subprocess.run(["nasm", "-f", "bin", "-o", program, source], check=True)
    program.chmod(0o755)
    return program


@pytest.mark.rig
def test_a_server_and_an_overlay_of_the_users(tmp_path: Path) -> None:
    """An executable in place of the tree's own, and a file of its that lies elsewhere."""
    overlay = tmp_path / "overlay"
    (overlay / "etc/kvm").mkdir(parents=True)
    (overlay / "etc/kvm/serve").write_text("exec nc -ll -p 80 -e /kvmapp/server/answer\n")
    (overlay / "kvmapp/server/api").mkdir(parents=True)
    (overlay / "kvmapp/server/api/zz_own.sh").write_text(
        'tell_mounted() { answer_success "{\\"file\\":\\"the overlay\\"}"; }\n'
    )
    with rig_with(tmp_path, None, server=built(tmp_path), overlay=overlay) as rig:
        served = rig.gadget.serve()
        served.mount(IMAGE)
        assert served.mounted() == "the overlay"
        assert [lun.file for lun in rig.gadget.luns] == [IMAGE]


def test_libraries_come_along() -> None:
    """As the dynamic linker itself finds them, of a program that is no firmware."""
    program = Path(find_tool("usbredirect", "usbredirect"))
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    wanted = set(re.findall(r"(/\S+) \(0x", listed))
    found = libraries(program, None)
    assert {f"/{place}" for place in found} == wanted
    assert all(f"/{place}" == str(path) for place, path in found.items())


def test_an_overlays_own_libraries_stay(tmp_path: Path) -> None:
    program = Path(find_tool("usbredirect", "usbredirect"))
    place = next(place for place in libraries(program, None) if "libusb-1.0" in place)
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(b"the user's own")
    assert place not in libraries(program, tmp_path)


def test_a_program_of_its_own_needs_nothing(tmp_path: Path) -> None:
    assert machine_of(built(tmp_path)) == ""
    assert libraries(built(tmp_path), None) == {}


RISCV = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xf3\0" + bytes(44)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (RISCV, 0o755, "a program for riscv"),
        (b"hello", 0o755, "it is no program"),
        (b"", 0o755, "it is no program"),
        (b"#!/bin/sh\n", 0o644, "it is not executable"),
        (None, 0o755, "there is no such file"),
    ],
)
def test_a_server_that_cannot_be_used(
    tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    server = tmp_path / "server"
    if content is not None:
        server.write_bytes(content)
        server.chmod(mode)
    firmware = open_firmware("fixed", tmp_path / "firmware")
    with pytest.raises(UsageError, match=words):
        supplied(firmware, tmp_path / "supplied", server=server, overlay=None)


def test_an_overlay_that_the_device_cannot_hold(tmp_path: Path) -> None:
    firmware = open_firmware("fixed", tmp_path / "firmware")
    (tmp_path / "overlay/boot").mkdir(parents=True)
    (tmp_path / "overlay/boot/link").symlink_to("elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        supplied(firmware, tmp_path / "a", server=None, overlay=tmp_path / "overlay")
    (tmp_path / "overlay/boot/link").unlink()
    with open(tmp_path / "overlay/large", "wb") as file:
        file.truncate(25 << 20)
    with pytest.raises(UsageError, match="25 MiB over the device's root"):
        supplied(firmware, tmp_path / "b", server=None, overlay=tmp_path / "overlay")


def test_a_damaged_program(tmp_path: Path) -> None:
    whole = Path(find_tool("usbredirect", "usbredirect")).read_bytes()
    (tmp_path / "program").write_bytes(whole[:300])
    with pytest.raises(UsageError, match="is damaged"):
        libraries(tmp_path / "program", None)
    (tmp_path / "program").write_bytes(
        whole.replace(b"/lib64/ld-linux-x86-64.so.2", b"/etc/passwd" + bytes(16))
    )
    with pytest.raises(UsageError, match="names the dynamic linker '/etc/passwd'"):
        libraries(tmp_path / "program", None)


def test_an_overlay_that_is_not_there(tmp_path: Path) -> None:
    firmware = open_firmware("fixed", tmp_path / "firmware")
    with pytest.raises(UsageError, match="no such folder"):
        supplied(firmware, tmp_path / "supplied", server=None, overlay=tmp_path / "gone")


@pytest.mark.parametrize(
    ("content", "words"), [(RISCV, "a program for riscv"), (b"hello", "it is no program")]
)
def test_a_trees_own_server_that_the_vm_cannot_run(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """As a release is: its server is built for the device."""
    tree = tmp_path / "tree"
    shutil.copytree(open_firmware("fixed", tmp_path / "fixed").kvmapp, tree)
    (tree / SERVER_IN_TREE).write_bytes(content)
    why = open_firmware(str(tree), tmp_path / "firmware").without_server
    assert why.startswith("no server supplied")
    assert words in why


def test_without_either_the_firmware_is_what_it_was(tmp_path: Path) -> None:
    firmware = open_firmware("fixed", tmp_path / "firmware")
    assert supplied(firmware, tmp_path / "supplied", server=None, overlay=None) is firmware
    assert not (tmp_path / "supplied").exists()
    assert firmware.without_server == ""


def test_a_library_that_is_nowhere(tmp_path: Path) -> None:
    program = tmp_path / "program"
    found = Path(find_tool("usbredirect", "usbredirect")).read_bytes()
    program.write_bytes(found.replace(b"libusbredirhost.so.1", b"libusbredirhost.so.x"))
    with pytest.raises(UsageError, match=r"'libusbredirhost\.so\.x', which is neither"):
        libraries(program, None)
