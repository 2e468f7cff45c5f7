"""
How Sphinx builds the pages, and pydoctor the API reference beside them.
"""

import sys
from importlib.metadata import version as installedVersion
from pathlib import Path

here = Path(__file__).parent
# For measured and commandpages, for pydoctor, which imports apilinks, and for the benchmarks.
sys.path[:0] = [str(here), str(here.parent)]

project = "ganeti-pool"
author = "The ganeti-pool authors"
copyright = f"2026, {author}"
version = release = installedVersion("ganeti-pool")

extensions = [
    "measured",
    "commandpages",
    "httppages",
    "sphinx.ext.intersphinx",
    # `make man` leaves it out: a manual page has no API reference beside it.
    "pydoctor.sphinx_ext.build_apidocs",
]
exclude_patterns = ["_build", "examples"]
nitpicky = True
man_pages = [
    (
        "reference/command",
        "ganeti-pool",
        "submit jobs to the ganeti-pool daemon, and see what becomes of them",
        [author],
        1,
    )
]
html_theme = "furo"
html_title = project

# pydoctor's output lies in api/, and its own inventory, which the extension adds
# here, makes :py:class:`ganeti_pool.workerpool.WorkerPool` a link to it.
intersphinx_mapping: dict[str, tuple[str, str | None]] = {}
pydoctor_url_path = "api"
pydoctor_args = [
    f"--project-name={project}",
    f"--project-version={release}",
    "--project-url=../index.html",
    "--docformat=epytext",
    "--system-class=apilinks.System",
    f"--project-base-dir={here.parent}",
    "--html-output={outdir}/api",
    str(here.parent / "ganeti_pool"),
]
