"""Sentences in code and in documents begin with a subject or a verb, as CONTRIBUTING asks."""

import ast
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FILES: Final = sorted(path for folder in ("src", "tests", "bench", "evidence") for path in (ROOT / folder).rglob("*.py"))
DOCUMENTS: Final = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
MIGRATIONS: Final = sorted((ROOT / "src" / "herdbook" / "db" / "migrations").glob("*.sql"))
# Applied migrations are never edited; the first ten were written before this rule.
SCRIPTS: Final = (ROOT / "Makefile", ROOT / "pyproject.toml", *(path for path in MIGRATIONS if path.name > "0011"))
# Openings that put the subject of a sentence at its end.
OPENING: Final = re.compile(r"\b(What|Whatever|Who|Whoever|Whom|Whose|Where|Wherever|Of|So|Which)\b")
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


def paragraphs_of(path: Path) -> list[str]:
    """Return the headings, paragraphs, list items and table cells of a document, without its examples."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE).replace("**", "")
    return [block.lstrip("#-*> ") for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. |#))|\|", prose)]


def comment_blocks_of(path: Path) -> list[str]:
    """Return the comments of a script or of SQL; lines that follow each other are one comment."""
    block = r"(?:^[^\n]*?(?:#|--) [^\n]*\n)+"
    return [
        re.sub(r"^.*?(?:#|--) ", "", found, flags=re.MULTILINE) for found in re.findall(block, path.read_text(), re.MULTILINE)
    ]


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", " ".join(text.split()))


def badly_begun(texts: Iterable[str]) -> list[str]:
    """Return the sentences that open badly, except questions."""
    sentences = [sentence for text in texts for sentence in sentences_of(text)]
    return [sentence for sentence in sentences if OPENING.match(sentence) and not sentence.endswith("?")]


def in_files(paths: Iterable[Path], texts_of: Callable[[Path], Iterable[str]]) -> dict[str, list[str]]:
    """Return the sentences that open badly by file."""
    # To read files word by word takes long, and few have such a word anywhere.
    some = (path for path in paths if OPENING.search(path.read_text()))
    found = {str(path.relative_to(ROOT)): badly_begun(texts_of(path)) for path in some}
    return {name: sentences for name, sentences in found.items() if sentences}


def test_sentences_begin_plainly() -> None:
    """No sentence of a comment or docstring opens with What, Who, Where, Of, So or Which, except a question."""
    assert in_files(FILES, lambda path: (*docstrings_of(path), *comments_of(path))) == {}


def test_sentences_of_documents_begin_plainly() -> None:
    """The same is true of documents."""
    assert in_files(DOCUMENTS, paragraphs_of) == {}


def test_sentences_of_scripts_begin_plainly() -> None:
    """The same is true of comments in the Makefile, in pyproject.toml and in migrations."""
    assert in_files(SCRIPTS, comment_blocks_of) == {}
