"""
Build the distribution: the part of its description that depends on where the files are.
"""

from pathlib import Path

from setuptools import find_packages, setup

# Made by `make man`. Where they are not there, the package is whole without them.
SHARED = {
    "share/man/man1": "doc/_build/man/ganeti-pool.1",
    "share/bash-completion/completions": "doc/_build/completion/bash/ganeti-pool",
    "share/zsh/site-functions": "doc/_build/completion/zsh/_ganeti-pool",
    "share/fish/vendor_completions.d": "doc/_build/completion/fish/ganeti-pool.fish",
}

setup(
    # twistd finds a plugin in the folder twisted/plugins of any entry of sys.path. With this
    # mapping and every package named, twisted.plugins among them, an editable install is such
    # an entry (otherwise it is a finder hook, which is none), and a wheel puts the plugin
    # beside Twisted's own. A twisted/__init__.py would hide Twisted itself.
    package_dir={"": "."},
    packages=[*find_packages(include=["ganeti_pool", "ganeti_pool.*"]), "twisted.plugins"],
    data_files=[(place, [path]) for place, path in SHARED.items() if Path(path).is_file()],
)
