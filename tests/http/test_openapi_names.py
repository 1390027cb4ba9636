"""Names in the OpenAPI document: no language for which clients are generated gives two things the same one."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

import pytest

from herdbook.app import OPERATIONS
from herdbook.http.openapi import document

DOCUMENT: Final = document(OPERATIONS, "https://herdbook.test/errors/")
SCHEMAS: Final[dict[str, Any]] = DOCUMENT["components"]["schemas"]
DESCRIBED: Final[list[Any]] = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
# Words that are reserved in C#, Go, Java, JavaScript, Kotlin, PHP, Python, Ruby, Rust or Swift.
RESERVED: Final = """
abstract alias and any as assert async await base become bool boolean box break byte case catch char checked class clone
const continue crate decimal def default defer delegate delete do double dyn echo elif else end ensure enum event except
exec explicit export extends extern fallthrough false final finally fixed float fn for foreach from func function global
go goto guard if impl implements implicit import in include init inner inout instanceof int interface internal is lambda
let lock long loop macro map match mod module move mut namespace native new nil none nonlocal not null operator or out
override package pass print private protected protocol pub public raise range readonly redo ref repeat require rescue
return sealed select self short signed sizeof static strictfp string struct subscript super switch synchronized template
then this throw throws trait transient true try typealias typedef typeof uint ulong undef unless unsafe until unsigned
use using val var virtual void volatile when where while with yield
"""


def flat(name: str) -> str:
    """Return a name as all spellings of it have it: some languages write `a_b`, others `aB`, and some file systems `AB`."""
    return re.sub("[^a-z0-9]", "", name.lower())


def types_by_schema() -> Iterator[tuple[str, str]]:
    """Return the types and constructors that generators declare for a schema, and what each is for."""
    for name, schema in SCHEMAS.items():
        # In Go, a type has two constructors, and a wrapper that may be null.
        for form in ("{}", "New{}", "New{}WithDefaults", "Nullable{}", "NewNullable{}"):
            yield form.format(name), name
        for member, kind in schema.get("properties", {}).items():
            if "enum" in kind:
                yield name + member, f"{name}.{member}"
                yield f"{name}{member}Enum", f"{name}.{member}"


def types_by_response() -> Iterator[tuple[str, str]]:
    """Return the types that generators declare for a shared response, and what each is for."""
    for name in DOCUMENT["components"]["responses"]:
        yield name, f"response {name}"


def types_by_operation() -> Iterator[tuple[str, str]]:
    """Return the types that generators declare for an operation, and what each is for."""
    for operation in DESCRIBED:
        name = operation["operationId"]
        for form in ("{}Request", "{}Params", "{}Data", "{}Response", "{}Responses", "{}Error", "{}Errors", "Api{}Request"):
            yield form.format(name), f"operation {name}"
    for tag in DOCUMENT["tags"]:
        yield tag["name"] + "Api", f"tag {tag['name']}"


def test_types_have_different_names() -> None:
    """No two types of a client have the same name, in any spelling."""
    declared: defaultdict[str, set[str]] = defaultdict(set)
    for name, reason in (*types_by_schema(), *types_by_response(), *types_by_operation()):
        declared[flat(name)].add(reason)

    assert len(declared) > 800
    assert [reasons for reasons in declared.values() if len(reasons) > 1] == []


def test_members_of_enums_have_different_names() -> None:
    """No two enums share the name of a member, because Go and C declare all members side by side."""
    members = Counter(
        member.upper()
        for schema in SCHEMAS.values()
        if "enum" in schema
        for member in schema.get("x-enum-varnames", schema["enum"])
    )

    assert len(members) > 60
    assert [name for name, times in members.items() if times > 1] == []


def test_each_member_of_an_enum_has_its_name() -> None:
    """The names of an enum's members are in the order of its values, and contain them."""
    named = [schema for schema in SCHEMAS.values() if "x-enum-varnames" in schema]

    assert named
    for schema in named:
        pairs = zip(schema["x-enum-varnames"], schema["enum"], strict=True)
        assert all(name.endswith("_" + value.upper()) for name, value in pairs)


@pytest.mark.parametrize("name", SCHEMAS)
def test_members_have_different_names(name: str) -> None:
    """No two members of an object have the same name in any spelling, and none that of its class, which C# forbids."""
    members = [flat(member) for member in SCHEMAS[name].get("properties", {})]

    assert len(set(members)) == len(members)
    assert flat(name) not in members


@pytest.mark.parametrize("operation", DESCRIBED, ids=lambda operation: operation["operationId"])
def test_parameters_have_different_names(operation: Any) -> None:
    """No two parameters of an operation have the same name in any spelling, nor that of its body."""
    names = [flat(parameter["name"]) for parameter in operation["parameters"]]

    assert len(set(names)) == len(names)
    assert "body" not in names


def test_no_schema_and_no_operation_has_a_reserved_name() -> None:
    """Schemas, operations and tags have no name that a language reserves."""
    names = [*SCHEMAS, *(operation["operationId"] for operation in DESCRIBED), *(tag["name"] for tag in DOCUMENT["tags"])]

    assert [name for name in names if flat(name) in RESERVED.split()] == []
