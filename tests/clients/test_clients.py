"""Clients that third-party generators make of the document: they compile, and a program reads and writes with each.

openapi-generator comes as a Python package, and needs a Java runtime. The other generators but datamodel-code-generator need
Node.js and what `npm ci` installs in `typescript`. Without Go, only the names in its client are compared.
"""

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import requests

from tests.cli.programs import Running, serving

HERE: Final = Path(__file__).parent
TYPESCRIPT: Final = HERE / "typescript"
NODE: Final = TYPESCRIPT / "node_modules/.bin"
CLIENTS: Final = ("openapi_fetch", "hey_api", "orval", "typescript_fetch")
# Parts of an openapi-generator client that only people read.
_WITHOUT: Final = dict.fromkeys(("apiDocs", "modelDocs", "apiTests", "modelTests"), "false")


class Made(NamedTuple):
    """A server, a folder with its document, and the clients in the folder."""

    server: Running
    folder: Path

    def run(self, *command: object) -> "subprocess.CompletedProcess[str]":
        """Run a command in the folder."""
        arguments = [str(argument) for argument in command]
        environment = os.environ | {"REDOCLY_TELEMETRY": "off", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
        return subprocess.run(arguments, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def require(self, *command: object) -> None:
        """Run a command in the folder, which must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Generator[Made]:
    """A server and its document."""
    folder = tmp_path_factory.mktemp("clients")
    with serving(folder) as server:
        document = requests.get(server.url + "/api/openapi.json", timeout=90).json()
        (folder / "openapi.json").write_text(json.dumps(document))
        yield Made(server, folder)


@pytest.fixture(scope="module")
def by_openapi_generator(made: Made) -> Path:
    """Make the clients of openapi-generator; return their folder."""
    if (java := shutil.which("java")) is None:
        pytest.skip("a Java runtime is not installed")
    configurations: list[Path] = []
    for generator in ("go", "python", "typescript-fetch"):
        configuration = {"generatorName": generator, "inputSpec": "openapi.json", "outputDir": generator.replace("-", "_")}
        configurations.append(made.folder / f"{generator}.json")
        configurations[-1].write_text(json.dumps(configuration | {"globalProperties": _WITHOUT}))
    jar = importlib.resources.files("openapi_generator_cli") / "openapi-generator.jar"
    # It runs for seconds, in which to optimise it costs more than that gains.
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    made.require(java, *quick, "-jar", jar, "batch", "--threads", 2, "--fail-fast", *configurations)
    return made.folder


@pytest.fixture(scope="module")
def in_typescript(made: Made, by_openapi_generator: Path) -> Made:
    """Make the clients in TypeScript, beside the programs that use them."""
    need_node()
    folder = by_openapi_generator
    (folder / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    for file in (*TYPESCRIPT.glob("*.ts"), TYPESCRIPT / "tsconfig.json"):
        shutil.copy(file, folder)
    made.require(NODE / "openapi-typescript", "openapi.json", "--output", "openapi_typescript/schema.ts")
    made.require(NODE / "openapi-ts", "--input", "openapi.json", "--output", "hey_api", "--client", "@hey-api/client-fetch")
    target = {"target": "orval/client.ts", "client": "fetch", "baseUrl": made.server.url + "/api"}
    (folder / "orval.config.json").write_text(json.dumps({"herdbook": {"input": "openapi.json", "output": target}}))
    made.require(NODE / "orval", "--config", "orval.config.json")
    return made


def need_node() -> None:
    """Skip a test for which Node.js and its packages are not installed."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not NODE.is_dir():
        pytest.skip(f"run `npm ci` in {TYPESCRIPT}: the generators are not installed")


def test_clients_in_typescript_have_types_that_fit(in_typescript: Made) -> None:
    """All clients in TypeScript, and the programs that use them, pass the strict type checker."""
    in_typescript.require(NODE / "tsc", "--project", "tsconfig.json")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_in_typescript_works(in_typescript: Made, client: str) -> None:
    """A program authenticates once, links, finds, updates, is refused, and reads all pages."""
    bundle = [f"{client}.ts", "--bundle", "--platform=node", "--format=esm", f"--outfile={client}.mjs", "--log-level=error"]
    in_typescript.require(NODE / "esbuild", *bundle)
    done = in_typescript.run("node", f"{client}.mjs", in_typescript.server.url + "/api", in_typescript.server.key)

    assert done.stdout == "done\n", done.stdout + done.stderr


def test_the_client_in_python_works(made: Made, by_openapi_generator: Path) -> None:
    """The package of openapi-generator can be imported, and does the same."""
    program = by_openapi_generator / "python/program.py"
    shutil.copy(HERE / "openapi_generator_python.txt", program)
    done = made.run(sys.executable, program, made.server.url + "/api", made.server.key)

    assert done.stdout == "done\n", done.stderr


def test_names_in_go_are_declared_once(by_openapi_generator: Path) -> None:
    """The client in Go, which has all in one package, declares each type, function and constant once."""
    declared: Counter[str] = Counter()
    for file in (by_openapi_generator / "go").glob("*.go"):
        code = file.read_text()
        declared.update(re.findall(r"^(?:type|func|var|const) (?!_\b)(\w+)", code, re.MULTILINE))
        for block in re.findall(r"^(?:const|var) \($(.*?)^\)$", code, re.MULTILINE | re.DOTALL):
            declared.update(re.findall(r"^\t(\w+) ", block, re.MULTILINE))

    assert len(declared) > 500
    assert [name for name, times in declared.items() if times > 1] == []


def test_the_client_in_go_works(made: Made, by_openapi_generator: Path) -> None:
    """The client in Go compiles without options of the generator, and does the same."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    client = by_openapi_generator / "go"
    (client / "program").mkdir()
    shutil.copy(HERE / "openapi_generator_go.txt", client / "program/main.go")
    # The client needs one module that is not here; an empty one takes its place, since nothing in this program is validated.
    (client / "validator").mkdir()
    (client / "validator/go.mod").write_text("module gopkg.in/validator.v2\n")
    (client / "validator/validator.go").write_text("package validator\n\nfunc Validate(v interface{}) error { return nil }\n")
    with (client / "go.mod").open("a") as module:
        module.write("replace gopkg.in/validator.v2 => ./validator\n")
    in_go = Made(made.server, client)
    in_go.require("go", "vet", "./...")
    done = in_go.run("go", "run", "./program", made.server.url + "/api", made.server.key)

    assert done.stdout == "done\n", done.stderr


@pytest.fixture(scope="module")
def models(made: Made) -> Path:
    """Make Pydantic models of a workspace's own document, which has all of the common one; return their module."""
    options = [{"id": each, "label": each.title()} for each in ("gold", "silver")]
    field = {"object_type": "contact", "key": "tier", "label": "Tier", "kind": "one_of", "options": options}
    assert made.server.post("/api/herdbook/fields", field).status_code == 201
    (made.folder / "own.json").write_text(made.server.get("/api/herdbook/openapi.json").text)
    program = made.folder / "models.py"
    command = [sys.executable, "-m", "datamodel_code_generator", "--input", "own.json", "--output", program]
    made.require(*command, "--output-model-type", "pydantic_v2.BaseModel", "--input-file-type", "openapi")
    return program


def read_by(models: Path, statement: str, answer: str) -> "subprocess.CompletedProcess[str]":
    """Run a statement on the models and on an answer of the API, which is its standard input."""
    command = [sys.executable, "-c", f"import sys, {models.stem} as models; {statement}"]
    return subprocess.run(command, cwd=models.parent, input=answer, capture_output=True, text=True, check=False)


def test_models_in_python_take_every_answer(made: Made, models: Path) -> None:
    """Pydantic models of datamodel-code-generator accept answers with the strangest addresses that the server accepts."""
    for address in ('"a b"@example.com', "root@localhost", "x@[192.0.2.1]", "дмитрий@пример.рф", "a_b@x--y.example"):
        assert made.server.post("/api/v2/contacts", {"emails": [{"email": address}]}).status_code == 201
    page = made.server.get("/api/v2/contacts", params={"limit": 100}).text
    done = read_by(models, "print(len(models.ContactList.model_validate_json(sys.stdin.read()).data) >= 5)", page)

    assert done.stdout == "True\n", done.stderr


def test_models_of_a_workspace_know_its_fields(made: Made, models: Path) -> None:
    """They have the fields of the workspace, and accept a record with values."""
    contact = made.server.post("/api/v2/contacts", {"fields": {"tier": "gold", "birthday": "1815-12-10"}}).json()
    record = made.server.get(f"/api/herdbook/contacts/{contact['id']}/record").text
    done = read_by(models, "print(models.LabelledContactRecord.model_validate_json(sys.stdin.read()).fields)", record)

    assert "tier=<ContactFieldTier.CONTACT_FIELD_TIER_GOLD: 'gold'>" in done.stdout, done.stderr
    assert "birthday=datetime.date(1815, 12, 10)" in done.stdout


def test_redocly_finds_nothing(made: Made) -> None:
    """Redocly finds nothing to improve: tags need no description, and the server's licence is not that of the API."""
    need_node()
    leaving_out = ("--skip-rule=tag-description", "--skip-rule=info-license")
    done = made.run(NODE / "redocly", "lint", "openapi.json", "--format=json", *leaving_out)

    assert json.loads(done.stdout)["problems"] == [], done.stderr


def test_spectral_finds_nothing(made: Made) -> None:
    """Spectral finds nothing to improve, but for the rules that our file names."""
    need_node()
    document = json.loads((made.folder / "openapi.json").read_text())
    (made.folder / "once.json").write_text(json.dumps(with_each_refusal_once(document)))

    made.require(NODE / "spectral", "lint", "once.json", f"--ruleset={TYPESCRIPT / 'spectral.yaml'}", "--fail-severity=hint")


def with_each_refusal_once(document: Any) -> Any:
    """Return a document in which a refusal that several operations describe alike is with the first of them.

    Eight of ten responses are such refusals, and Spectral would look at each of them again. A 401 stays, because no operation
    may be without a refusal.
    """
    seen: set[str] = set()
    for operation in (each for item in document["paths"].values() for each in item.values()):
        kept: dict[str, Any] = {}
        for status, response in operation["responses"].items():
            described = f"{status} {json.dumps(response, sort_keys=True)}"
            if described not in seen or status[0] in "23" or status == "401":
                kept[status] = response
            seen.add(described)
        operation["responses"] = kept
    return document
