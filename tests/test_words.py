"""Comments and docstrings begin with a subject or a verb, as CONTRIBUTING asks."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
FILES: Final = sorted(path for folder in ("src", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))
# Openings that put the subject of a sentence at its end.
OPENING: Final = re.compile(r"(What|Whatever|Who|Whoever|Whom|Whose|Where|Wherever|Of|So|Which)\b")
DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings_of(path: Path) -> Iterator[str]:
    """Yield the docstrings of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield text


def comments_of(path: Path) -> Iterator[str]:
    """Yield the comments of a file; lines that follow each other are one comment."""
    comment: list[str] = []
    last_line = 0
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                if token.start[0] != last_line + 1:
                    yield " ".join(comment)
                    comment = []
                comment.append(token.string.lstrip("# "))
                last_line = token.start[0]
    yield " ".join(comment)


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", " ".join(text.split()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_begin_plainly(path: Path) -> None:
    """No sentence of a comment or docstring opens with What, Who, Where, Of, So or Which, except a question."""
    sentences = [sentence for text in (*docstrings_of(path), *comments_of(path)) for sentence in sentences_of(text)]

    assert [sentence for sentence in sentences if OPENING.match(sentence) and not sentence.endswith("?")] == []
