"""
What each way to install C{ganeti-pool} brings, and leaves when it goes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ganeti_pool"

SHARED = {
    "share/bash-completion/completions/ganeti-pool",
    "share/fish/vendor_completions.d/ganeti-pool.fish",
    "share/man/man1/ganeti-pool.1",
    "share/zsh/site-functions/_ganeti-pool",
}
"""
What C{make man}, which C{make packaging} runs first, has made to go beside the
package.
"""

EXTRAS = ("klein", "treq", "click", "rich", "sqlalchemy", "cattrs", "platformdirs")

REQUIREMENTS = """
import importlib.metadata as metadata
print(*(line for line in metadata.requires("ganeti-pool") if "extra ==" not in line), sep="\\n")
"""

FINDABLE = f"""
import importlib.util, ganeti_pool
print([name for name in {EXTRAS!r} if importlib.util.find_spec(name)])
"""

TWISTED_FILES = """
import importlib.metadata as metadata
print([str(path) for path in metadata.files("twisted") if not path.locate().is_file()])
"""


class Environment:
    """
    A virtual environment with C{ganeti-pool} in it.

    @ivar place: its directory.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        venv.create(place, with_pip=True)

    def end(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """
        Run one of its programs to its end, elsewhere than in the checkout.
        """
        return subprocess.run(
            [str(self.place / "bin" / program), *arguments],
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def run(self, program: str, *arguments: str) -> str:
        """
        Run one of its programs, which ends well.

        @return: what it printed on its standard output.
        """
        child = self.end(program, *arguments)
        assert child.returncode == 0, child.stdout + child.stderr
        return child.stdout

    def pip(self, *arguments: str) -> None:
        """
        Run its pip.
        """
        self.run("python", "-m", "pip", "--disable-pip-version-check", "-q", *arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """
    The sdist, the same unpacked, and the wheel that is built from it.
    """
    place = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(place), str(ROOT)],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )
    sdist = next(place.glob("*.tar.gz"))
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(place)], check=True, timeout=60)
    return {
        "wheel": next(place.glob("*.whl")),
        "sdist": sdist,
        "directory": place / sdist.name.removesuffix(".tar.gz"),
    }


@pytest.fixture(scope="module", params=["wheel", "sdist", "directory", "editable"])
def environment(
    request: pytest.FixtureRequest, built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """
    An environment for each way to install, with no extra.
    """
    environment = Environment(tmp_path_factory.mktemp(request.param))
    way = request.param
    environment.pip("install", *(["-e", str(ROOT)] if way == "editable" else [str(built[way])]))
    return environment


def test_twistdListsIt(environment: Environment) -> None:
    """
    twistd shows the plugin, though the extras are missing.
    """
    assert re.search(r"^ +ganeti-pool +\w", environment.run("twistd", "--help"), re.MULTILINE)


def test_baseIsSmall(environment: Environment) -> None:
    """
    A base install requires Twisted and zope.interface alone, and can be imported
    with none of the extras there.
    """
    required = environment.run("python", "-c", REQUIREMENTS).splitlines()
    assert sorted(re.split(r"[^\w.]", line)[0] for line in required) == [
        "twisted",
        "zope.interface",
    ]
    assert environment.run("python", "-c", FINDABLE) == "[]\n"


def test_missingExtraIsNamed(environment: Environment) -> None:
    """
    The command and the daemon say which extra is missing, in one sentence and
    without a traceback.
    """
    for command in (["ganeti-pool", "status"], ["twistd", "-n", "--pidfile=", "ganeti-pool"]):
        child = environment.end(*command)
        said = child.stdout + child.stderr
        assert child.returncode != 0
        assert "ganeti-pool[daemon]" in said
        assert "Traceback" not in said


def test_manualIsFound(environment: Environment) -> None:
    """
    The manual page and the completion lie where man and the shells look for them,
    but for an editable install, which has no more than the package.
    """
    wanted = set() if environment.place.name.startswith("editable") else SHARED
    assert {name for name in SHARED if (environment.place / name).is_file()} == wanted


def test_uninstallLeavesTwisted(environment: Environment) -> None:
    """
    To uninstall it takes nothing of Twisted away, whose plugins share a folder
    with ours. (This comes last: the environment has it no more.)
    """
    environment.pip("uninstall", "-y", "ganeti-pool")
    assert environment.run("python", "-c", TWISTED_FILES) == "[]\n"
    assert not any((environment.place / name).exists() for name in SHARED)
    helped = environment.run("twistd", "--help")
    assert "ganeti-pool" not in helped
    assert re.search(r"^ +web +\w", helped, re.MULTILINE)
    assert "twistd" in environment.run("twistd", "--version")


def test_wheelHoldsThePackage(built: dict[str, Path]) -> None:
    """
    The wheel has every module, the marker for type checkers, the plugin, the manual
    page and the completion; of twisted's folders nothing else, and no plugin cache.
    """
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py")}
    shared = {name for name in names if ".data/data/" in name}
    assert {name.partition(".data/data/")[2] for name in shared} == SHARED
    assert names - shared == {
        *modules,
        "ganeti_pool/py.typed",
        "twisted/plugins/ganeti_pool_plugin.py",
    }


def test_sdistIsACheckout(built: dict[str, Path]) -> None:
    """
    From the sdist one can do what the README says: it has the Makefile, the
    tests and the documentation, and no plugin cache.
    """
    files = {
        str(path.relative_to(built["directory"]))
        for path in built["directory"].rglob("*")
        if path.is_file()
    }
    wanted = {
        "LICENSE",
        "Makefile",
        "README.md",
        "doc/conf.py",
        "doc/demo.py",
        "setup.py",
        "tests/test_layers.py",
    }
    assert wanted - files == set()
    assert not {name for name in files if name.endswith(("dropin.cache", ".pyc"))}
