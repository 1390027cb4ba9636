"""Passkeys (WebAuthn, level 3): how browsers are asked for one, and whether an answer is right."""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

# A credential with all that browsers add to it.
MOST_CHARACTERS: Final = 20_000


class Asked(NamedTuple):
    """The options for the browser, and the challenge in them."""

    options: Any
    challenge: str


class NewPasskey(NamedTuple):
    """A passkey that a browser has made."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


class Refused(Exception):
    """An answer is not right."""


def _host(origin: str) -> str:
    """Return the host that passkeys are bound to, without a port."""
    return urlsplit(origin).hostname or ""


def ask_for_new(origin: str, person_id: UUID, name: str, existing: Sequence[bytes]) -> Asked:
    """Return how to ask a browser for a passkey that it can offer without being told whose it is."""
    options = generate_registration_options(
        rp_id=_host(origin),
        rp_name="herdbook",
        user_id=person_id.bytes,
        user_name=name,
        user_display_name=name,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in existing],
    )
    return Asked(json.loads(options_to_json(options)), bytes_to_base64url(options.challenge))


def made(credential: str, challenge: str, origin: str) -> NewPasskey:
    """Return the passkey that a browser has made. Raise Refused if the answer is not right."""
    try:
        found = verify_registration_response(
            credential=credential[:MOST_CHARACTERS],
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=_host(origin),
            expected_origin=origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError) as error:
        raise Refused(str(error)) from error
    return NewPasskey(found.credential_id, found.credential_public_key, found.sign_count)


def ask_for_any(origin: str) -> Asked:
    """Return how to ask a browser for one of its passkeys."""
    options = generate_authentication_options(rp_id=_host(origin), user_verification=UserVerificationRequirement.REQUIRED)
    return Asked(json.loads(options_to_json(options)), bytes_to_base64url(options.challenge))


def credential_id_of(credential: str) -> bytes:
    """Return the id that an answer names. Raise Refused if it names none."""
    try:
        return base64url_to_bytes(json.loads(credential[:MOST_CHARACTERS])["id"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(str(error)) from error


def checked(credential: str, challenge: str, origin: str, public_key: bytes, sign_count: int) -> int:
    """Return the new count of an answer by a passkey. Raise Refused if the answer is not right."""
    try:
        found = verify_authentication_response(
            credential=credential[:MOST_CHARACTERS],
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=_host(origin),
            expected_origin=origin,
            credential_public_key=public_key,
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError) as error:
        raise Refused(str(error)) from error
    return found.new_sign_count
