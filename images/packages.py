"""Debian packages, fetched and unpacked without being installed. Only ci/bootstrap does that."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import BootgateError
from harness.owner import run_tool


def unpack(names: Sequence[str], draft: Path, tree: Path) -> None:
    """Download the packages through apt into `draft`, and unpack them under `tree`.

    Raises ToolError.
    """
    # As root, apt would download as the user _apt, who may not write here.
    run_tool(
        ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names],
        package="apt",
        cwd=draft,
    )
    for package in sorted(draft.glob("*.deb")):
        run_tool(["dpkg-deb", "-x", str(package), str(tree)], package="dpkg")


def as_program(fetch: Callable[[], object]) -> None:
    """Run `fetch` as ci/bootstrap does, and end this process when it fails."""
    # So that a download that is stopped leaves nothing in the cache.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        fetch()
    except BootgateError as problem:
        print(f"bootgate: {problem}", file=sys.stderr)
        sys.exit(problem.exit_status)
