"""A model's own Python: named by the user, hashed, and only then loaded (law 6).

A single file is loaded from the bytes that were hashed, so it cannot change in between; it can import
what is installed, and files that lie beside it. A module of a package is imported by its name.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mr_gradient.errors import ModelError, UsageError

_HOW = "name it as path/to/file.py:factory or package.module:factory"
#: What a task's copy of a file is called: a name that no other module has.
SHIPPED = "mr_gradient_model.py"
#: Files that this process has run, by checksum: workers live on between jobs.
_modules: dict[str, types.ModuleType] = {}


@dataclass(frozen=True)
class Code:
    """The factory ``function``, and the file of Python with this ``sha256`` that it is in.

    ``module``: the file's name, or a module's with dots, which has no ``path`` and no ``source``. Two
    are equal wherever their files lie.
    """

    function: str
    sha256: str
    module: str = field(compare=False)
    path: str = field(compare=False, default="")
    source: bytes = field(compare=False, repr=False, default=b"")

    @property
    def name(self) -> str:
        """What messages and saved models call it: ``file.py:factory``."""
        return f"{self.module}:{self.function}"


def is_own(text: str) -> bool:
    """Whether a model's name says where its code is."""
    return ":" in text or text.endswith(".py")


def find(text: str, option: str) -> Code:
    """The code that a user names as ``file.py:factory`` or ``package.module:factory``.

    A file is read, not run. Raises ``UsageError`` that begins with ``option`` if it is not there.
    """
    module, _, function = text.rpartition(":")
    if not (module and function.isidentifier()):
        raise UsageError(f"{option} {text}: must name a factory too; {_HOW}")
    if module.endswith(".py"):
        source = _read(module, f"{option} {text}")
        return Code(function, hashlib.sha256(source).hexdigest(), os.path.basename(module),
                    os.path.abspath(module), source)
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise UsageError(f"{option} {text}: {module} is neither a .py file nor a module; {_HOW}")
    path = _path_of(module, f"{option} {text}")
    return Code(function, hashlib.sha256(_read(path, f"{option} {text}")).hexdigest(), module)


def _read(path: str, where: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{where}: {path} cannot be read: {error.strerror}") from None


def _path_of(module: str, where: str) -> str:
    """The file of a module; this runs the packages that it is in."""
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:
        raise UsageError(f"{where}: {module} cannot be found: {type(error).__name__}: {error}; install "
                         "it, or name a file as path/to/file.py:factory") from None
    if spec is None or not spec.has_location or not spec.origin:
        raise UsageError(f"{where}: there is no module {module} with a file here; install it, or name "
                         "a file as path/to/file.py:factory")
    return spec.origin


def load(code: Code) -> Callable[..., Any]:
    """Run the code and return its factory. Raises ``ModelError`` for whatever goes wrong there."""
    try:
        module = _run(code) if code.path else importlib.import_module(code.module)
    except Exception as error:
        shipped = ("; a task has the file alone, and what --files, --py-files and --ship-env ship"
                   if isinstance(error, ImportError) and os.path.basename(code.path) == SHIPPED else "")
        raise ModelError(f"model {code.name}: cannot be loaded: {type(error).__name__}: {error}"
                         f"{line_of(error, code.module)}{shipped}", traceback.format_exc()) from None
    factory = getattr(module, code.function, None)
    if not callable(factory):
        raise ModelError(f"model {code.name}: the file has no function {code.function}; it has "
                         f"{', '.join(_functions(module)) or 'none'}")
    return factory


def _run(code: Code) -> types.ModuleType:
    if code.sha256 in _modules:
        return _modules[code.sha256]
    name = f"mr_gradient_model_{code.sha256[:16]}"
    module = types.ModuleType(name)
    module.__file__ = code.path
    folder = os.path.dirname(code.path)
    sys.modules[name] = module  # dataclasses look for their module there
    sys.path.insert(0, folder)
    try:
        exec(compile(code.source, code.path, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(folder)
    _modules[code.sha256] = module
    return module


def line_of(error: Exception, module: str) -> str:
    """Where in the file named ``module``, or a task's copy of it, an error arose, in words."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if os.path.basename(frame.filename) in (module, SHIPPED)]
    return f" (line {lines[-1]})" if lines else ""


def _functions(module: types.ModuleType) -> list[str]:
    return [name for name, each in vars(module).items() if not name.startswith("_")
            and callable(each) and getattr(each, "__module__", "") == module.__name__]
