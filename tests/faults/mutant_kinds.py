"""Compares mutants with their originals: mutants that change only words, and what others change."""

import ast
import difflib
from collections.abc import Iterable

LOGS = ('print_log', '_warn', 'warning', 'info', 'debug', 'warn')


def functions(code: str) -> dict[str, ast.FunctionDef]:
    """Return the functions and methods of a file of mutmut by name."""
    return {node.name: node for node in ast.walk(ast.parse(code)) if _is_function(node)}


def wording(mutants: Iterable[str], code: str) -> list[str]:
    """Return the mutants of a file of mutmut that change nothing but words."""
    trees = functions(code)
    return [mutant for mutant in mutants if is_wording(trees, mutant)]


def is_wording(functions: dict[str, ast.FunctionDef], mutant: str) -> bool:
    """Return whether a mutant changes nothing but the words of a message or a log text."""
    old, new = _pair(functions, mutant)
    return ast.dump(_Unworded().visit(old)) == ast.dump(_Unworded().visit(new))


def difference(functions: dict[str, ast.FunctionDef], mutant: str) -> str:
    """Return a mutant's name and the lines that it changes."""
    old, new = (ast.unparse(tree).splitlines() for tree in _pair(functions, mutant))
    lines = [line for line in difflib.ndiff(old, new) if line[0] in '+-']
    return '\n'.join([mutant.rpartition('.')[2], *lines])


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _pair(functions: dict[str, ast.FunctionDef], mutant: str) -> tuple[ast.AST, ast.AST]:
    """Return copies of the original and the mutant, with one name."""
    name = mutant.rpartition('.')[2]
    original = name.rpartition('__mutmut_')[0] + '__mutmut_orig'
    texts = (ast.unparse(functions[each]) for each in (original, name))
    old, new = (ast.parse(text).body[0] for text in texts)
    old.name = new.name = 'function'
    return old, new


class _Unworded(ast.NodeTransformer):
    """Replaces sentences by one constant, and drops what a log or an error is given."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        is_sentence = isinstance(node.value, str) and ' ' in node.value.strip()
        return ast.Constant('MESSAGE') if is_sentence else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        words = [part.value for part in node.values if isinstance(part, ast.Constant)]
        is_sentence = any(' ' in word.strip() for word in words)
        return ast.Constant('MESSAGE') if is_sentence else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        node = self.generic_visit(node)
        if isinstance(node.exc, ast.Call):
            node.exc.args = [each for each in node.exc.args if not _is_message(each)]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        function = node.value.func if isinstance(node.value, ast.Call) else None
        name = getattr(function, 'id', getattr(function, 'attr', None))
        return ast.Pass() if name in LOGS else self.generic_visit(node)


def _is_message(node: ast.AST) -> bool:
    """Return whether an argument of an error is a sentence, or the None of a mutant."""
    return isinstance(node, ast.Constant) and node.value in ('MESSAGE', None)
