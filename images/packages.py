"""Debian packages, fetched and unpacked without being installed. Only ci/bootstrap does that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
