"""The code uses no private name of a library, except those that have a contract test."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FILES = sorted(path for wing in ("service", "studies", "trials") for path in (ROOT / wing).rglob("*.py"))
OPTUNA = "tests/unit/studies/test_optuna_contract.py"
TORCH = "tests/unit/trials/test_torch_contract.py"
TRANSFORMERS = "tests/unit/trials/test_transformers_contract.py"
CONTRACTS = {
    "_backend": OPTUNA,
    "_pytree": TORCH,
    "_BatchNorm": TORCH,
    "_version": TORCH,
    "_parameters": TORCH,
    "_init_weights": TRANSFORMERS,
    "_is_hf_initialized": TRANSFORMERS,
    "_attn_implementation": TRANSFORMERS,
    "_model_mapping": TRANSFORMERS,
    "_keep_in_fp32_modules": TRANSFORMERS,
    "_get_feat_extract_output_lengths": TRANSFORMERS,
}
DOCUMENTED = {"os._exit"}  # names of the standard library that its documentation describes


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def own_names(tree: ast.AST) -> set[str]:
    """The names that a file defines: functions, classes, variables, fields, and the attributes of `self`."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                names.add(name)
            case ast.Name(name, ctx=ast.Store()) | ast.Attribute(ast.Name("self"), name, ctx=ast.Store()):
                names.add(name)
    return names


def parts(node: ast.AST) -> Iterator[str]:
    """The names that a node takes from elsewhere: by an attribute, an import, or `getattr` and its like."""
    match node:
        case ast.Attribute(ast.Name("self" | "cls"), _):
            return
        case ast.Attribute(_, name) if is_private(name) and ast.unparse(node) not in DOCUMENTED:
            yield name
        case ast.ImportFrom(str(module), names, 0) if module.partition(".")[0] != "luthier":
            yield from module.split(".")
            yield from (alias.name for alias in names)
        case ast.Import(names):
            yield from (part for alias in names for part in alias.name.split("."))
        case ast.Call(ast.Name("getattr" | "setattr" | "hasattr" | "delattr"), [_, ast.Constant(str(name)), *_]):
            yield name


def private_names(tree: ast.AST) -> set[str]:
    """The private names in a file that the file does not define itself."""
    return {name for node in ast.walk(tree) for name in parts(node) if is_private(name)} - own_names(tree)


@functools.cache
def private_names_of(path: Path) -> set[str]:
    return private_names(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_have_a_contract_test(path: Path) -> None:
    assert private_names_of(path) <= CONTRACTS.keys(), (
        "a private name of a library: use its public names, or write a contract test and list the name here"
    )


def test_the_list_holds_nothing_else() -> None:
    used = set().union(*map(private_names_of, FILES))
    assert used == CONTRACTS.keys()
    for name, file in CONTRACTS.items():
        assert name in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no test of {name}"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from torch.utils._pytree import tree_map", {"_pytree"}),
        ("from torch.nn.modules.batchnorm import _BatchNorm", {"_BatchNorm"}),
        ("import a._b.c", {"_b"}),
        ("storage._backend.engine", {"_backend"}),
        ("parameter._is_ready = True", {"_is_ready"}),
        ("def f(kind: ImageEnhance._Enhance): ...", {"_Enhance"}),
        ("getattr(model.config, '_attention', None)", {"_attention"}),
        ("self.storage._backend", {"_backend"}),
        ("self._backend.engine", set()),
        ("cls._made()", set()),
        ("class Space:\n    _depths: dict\nspace._depths = {}", set()),
        ("def __init__(self): self._depth = 1\nother._depth", set()),
        ("os._exit(1)", set()),
        ("model.__class__", set()),
        ("from luthier.trials import _own", set()),
        ("from . import _own", set()),
    ],
)
def test_private_names_are_recognized(code: str, names: set[str]) -> None:
    assert private_names(ast.parse(code)) == names
