"""
Build the distribution: the part of its description that depends on where the files are.
"""

from setuptools import find_packages, setup

setup(
    # twistd finds a plugin in the folder twisted/plugins of any entry of sys.path. With this
    # mapping and every package named, twisted.plugins among them, an editable install is such
    # an entry (otherwise it is a finder hook, which is none), and a wheel puts the plugin
    # beside Twisted's own. A twisted/__init__.py would hide Twisted itself.
    package_dir={"": "."},
    packages=[*find_packages(include=["ganeti_pool", "ganeti_pool.*"]), "twisted.plugins"],
)
