"""The start of a server: it imports what the first answer needs, and the rest soon after."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

# Libraries that few requests need, each of them some hundredths of a start.
HEAVY: Final = (
    *("argon2", "authlib", "chardet", "clevercsv", "cryptography", "email_validator", "httpx", "importlib.metadata", "jinja2"),
    *("joserfc", "markdown_it", "nameparser", "nh3", "phonenumbers", "python_calamine", "rapidfuzz", "rich", "sqlite3"),
    *("tinytag", "webauthn", "xlsxwriter"),
    *("herdbook.cli.demo", "herdbook.console.console_app", "herdbook.console_pages", "herdbook.database_upgrade"),
)
# Those that requests of programs need, and that are imported in the background.
SOON: Final = ("authlib", "email_validator", "nameparser", "phonenumbers", "rapidfuzz")
# The application is ready, and the loop has had no turn since.
READY: Final = """
import asyncio, json, sys
from pathlib import Path

import herdbook.cli.main, herdbook.cli.serve, herdbook.cli.workers
from herdbook.app import create_app
from herdbook.settings import Settings

async def start(database_url, folder, heavy, soon):
    async with create_app(Settings(data_dir=Path(folder), database_url=database_url), database_url).running():
        print(json.dumps([name for name in heavy if name in sys.modules]), flush=True)
        while not all(name in sys.modules for name in soon):
            await asyncio.sleep(0.01)
        print("all of them")

asyncio.run(start(*sys.argv[1:3], *map(json.loads, sys.argv[3:])))
"""
# A request compares two texts while the library for that is imported in the background.
MEANWHILE: Final = """
import sys, threading
from herdbook.duplicates.comparison import _is_close, load_library_of_likeness

loading = threading.Thread(target=load_library_of_likeness)
loading.start()
while "rapidfuzz" not in sys.modules and loading.is_alive():
    pass
print(_is_close("herd book", "book herd"))
loading.join()
"""
# The modules that are there when the database of `herdbook serve` is started.
BEFORE_THE_DATABASE: Final = """
import sys, herdbook.cli.main, herdbook.cli.serve
late = {"asyncio", "asyncpg", "starlette", "uvicorn", "prometheus_client"}
print(*sorted(late & sys.modules.keys()))
"""


def test_a_server_starts_without_what_few_requests_need(database_url: str, tmp_path: Path) -> None:
    """When the server is ready, no heavy module has been imported; those of the API are, soon after, before a request comes."""
    arguments = [database_url, str(tmp_path), json.dumps(HEAVY), json.dumps(SOON)]
    done = subprocess.run(
        [sys.executable, "-c", READY, *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout.splitlines()

    assert json.loads(done[0]) == []
    assert done[1] == "all of them"


def test_a_request_may_need_a_library_while_it_is_imported() -> None:
    """It waits for the import that has begun, and neither of them fails."""
    done = subprocess.run([sys.executable, "-c", MEANWHILE], check=True, capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_the_database_starts_before_the_imports() -> None:
    """The command line starts the database before it imports the application, which takes most of the time."""
    done = subprocess.run([sys.executable, "-c", BEFORE_THE_DATABASE], check=True, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == ""
