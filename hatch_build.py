"""Compiles the rules while a wheel is built, when INTURN_COMPILE=1: mypyc makes C extensions.

The sources stay as they are and go into the wheel too. All is made in a temporary copy: an extension
beside a source would be imported in its place ever after, whatever becomes of the source.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("consumer", "processors")
SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup

extensions = mypycify(["--strict", *sys.argv[3:]], opt_level="2", debug_level="0", group_name="inturn")
setup(name="inturn", packages=[], py_modules=[], ext_modules=extensions, script_args=sys.argv[1:3])
"""


class CannotCompile(Exception):
    """The compiled form was asked for and cannot be made."""


def is_wanted() -> bool:
    """Whether the environment asks for the compiled form."""
    return os.environ.get("INTURN_COMPILE", "") not in {"", "0"}


def what_is_missing() -> str:
    """A sentence that says what this machine lacks to compile; empty if nothing."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if os.name != "nt" and shutil.which(compiler) is None:
        return (
            f"There is no C compiler ({compiler}): install one (on Debian and Ubuntu: apt install gcc "
            "libc6-dev), name one in CC, or do without INTURN_COMPILE."
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"The headers of Python are not in {headers} (on Debian and Ubuntu: apt install python3-dev)."
    return ""


class CompiledCore(BuildHookInterface[Any]):
    """Puts the extensions into the wheel, which then is for one Python and one platform.

    ``modules`` in pyproject.toml are patterns of what is compiled, ``interpreted`` what is left out.
    """

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """What compiling needs in the environment that builds, the types that the core uses among it."""
        return list(self.config["needs"]) if is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless nobody asked."""
        if not is_wanted():
            return
        if version == "editable":
            raise CannotCompile(
                "What can be edited is interpreted: install without -e, or without INTURN_COMPILE."
            )
        if missing := what_is_missing():
            raise CannotCompile(missing)
        self._folder = tempfile.TemporaryDirectory(prefix="inturn-compile-")
        made = self._compile(Path(self._folder.name))
        build_data["force_include"].update({str(path): name for name, path in made.items()})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 (the hook's signature)
        """Remove the copy: the wheel is written."""
        if self._folder is not None:
            self._folder.cleanup()

    def _compile(self, folder: Path) -> dict[str, Path]:
        """The extensions by their path in the wheel."""
        root = Path(self.root)
        for package in PACKAGES:
            shutil.copytree(
                root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.so")
            )
        (folder / "setup.py").write_text(SETUP, "utf-8")
        ran = subprocess.run(  # noqa: S603 (this very interpreter)
            [sys.executable, "setup.py", "build_ext", "--build-lib=made", *self._modules(root)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        made = {
            path.relative_to(folder / "made").as_posix(): path
            for path in (folder / "made").rglob("*.*")
            if path.suffix in {".so", ".pyd"}
        }
        if ran.returncode or not made:
            raise CannotCompile(f"Compiling failed:\n{ran.stdout[-4000:]}")
        return made

    def _modules(self, root: Path) -> list[str]:
        found = {
            path.relative_to(root).as_posix() for glob in self.config["modules"] for path in root.glob(glob)
        }
        return sorted(found - set(self.config["interpreted"]))


if __name__ == "__main__":
    sys.stdout.write(what_is_missing())
