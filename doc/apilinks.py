"""
Where the API reference links to what is not ours.

The usual way is to fetch each project's inventory, which a build without a
network cannot. A name's page follows from the name; that the name exists is
seen by importing it, so a wrong link is still a warning.

And where it shows what is ours: at its public name.
"""

from __future__ import annotations

import builtins
import sys
from typing import ClassVar

from pydoctor.epydoc.markup import DocstringLinker
from pydoctor.extensions import ExtRegistrar, InheritableMixin, ModuleMixin
from pydoctor.model import System as BaseSystem
from pydoctor.sphinx import SphinxInventory
from twisted.python.reflect import namedAny

__all__ = ["Inventory", "PublicNames", "System", "WholeLinks", "setup_pydoctor_extension"]

PYTHON = "https://docs.python.org/3/library"
TWISTED = "https://docs.twisted.org/en/stable/api"
ZOPE_INTERFACE = "https://zopeinterface.readthedocs.io/en/latest/api/index.html"


class Inventory(SphinxInventory):
    """
    Links to the references of Python, Twisted and zope.interface.
    """

    def getLink(self, name: str) -> str | None:
        """
        The address of a name's page, or L{None} for a name that is not there.
        """
        top = name.split(".")[0]
        if hasattr(builtins, name):
            return f"{PYTHON}/{builtinPage(getattr(builtins, name))}.html#{name}"
        if top not in {"twisted", "zope", *sys.stdlib_module_names}:
            return None
        try:
            namedAny(name)
        except (AttributeError, ImportError, ValueError):
            return None
        if top == "twisted":
            return f"{TWISTED}/{name}.html"
        if top == "zope":
            return ZOPE_INTERFACE
        return f"{PYTHON}/{name.rpartition('.')[0] or name}.html#{name}"


def builtinPage(value: object) -> str:
    """
    The page of Python's reference on which a builtin stands.
    """
    if isinstance(value, type) and issubclass(value, BaseException):
        return "exceptions"
    return "functions" if callable(value) else "constants"


class PublicNames(ModuleMixin):
    """
    Has what a private module defines shown in the package that exports it. pydoctor
    does so by itself only for names that the private module's own C{__all__} lacks.
    """

    _names: list[str] | None = None

    @property
    def all(self) -> list[str] | None:
        """
        The names in C{__all__}, of a public module.
        """
        return None if self.name.startswith("_") else self._names

    @all.setter
    def all(self, names: list[str] | None) -> None:
        self._names = names


class WholeLinks(InheritableMixin):
    """
    Links in the docstrings of methods and attributes that name the page before the anchor, even
    on the same page. pydoctor shows such a docstring on the page of each class that inherits it
    or implements its interface, where its short links are dead.
    """

    @property
    def docstring_linker(self) -> DocstringLinker:
        """
        The linker of this object.
        """
        linker: DocstringLinker = super().docstring_linker
        # In pydoctor this disables short links.
        linker._page_object = None
        return linker


def setup_pydoctor_extension(registrar: ExtRegistrar) -> None:
    """
    Called by pydoctor, which looks for this name.
    """
    registrar.register_mixin(PublicNames)
    registrar.register_mixin(WholeLinks)


class System(BaseSystem):
    """
    What pydoctor documents, with L{Inventory} for the rest.
    """

    custom_extensions: ClassVar[list[str]] = ["apilinks"]

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.intersphinx = Inventory(logger=self.msg)
