"""/v1/oauth/token: the operation."""

from typing import Final

import msgspec

from herdbook.errors import RateLimited
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation, OtherAnswer
from herdbook.oauth.model import OAuthError, TokenAnswer, TokenRequest
from herdbook.oauth.server import Sent, answer_token_request

_NOT_KEPT: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_CHALLENGE: Final = (b"www-authenticate", b'Basic realm="herdbook", charset="UTF-8"')


async def give_tokens(call: Call, body: bytes) -> Answer:
    """Exchange a client's secret, a code or a refresh token for tokens."""
    sent = Sent(call.headers.get(b"authorization"), call.headers.get(b"content-type"), body, call.address)
    outcome = await answer_token_request(call.services.database.pool, call.sign_ins, sent)
    headers = (*_NOT_KEPT, _CHALLENGE) if outcome.status == 401 else _NOT_KEPT
    return Answer(msgspec.json.encode(outcome.members), status=outcome.status, headers=headers)


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/oauth/token",
        id="oauth-token",
        summary="Get tokens",
        description="Issues tokens to an OAuth client (RFC 6749), for itself (`client_credentials`) or for a user who has "
        "granted it access (`authorization_code` with PKCE, then `refresh_token`). The client authenticates with HTTP Basic or "
        "with `client_id` and `client_secret` in the form.",
        tag="subpackage_authentication",
        scopes=None,
        handler=give_tokens,
        form=TokenRequest,
        answer=TokenAnswer,
        refusals=(RateLimited,),
        answer_description="The tokens. A refresh token can be used once. Sent again within ten seconds, or before the "
        "next tokens were used, it gives the same next one; later, it revokes all tokens of its grant.",
        other_answers={
            400: OtherAnswer(OAuthError, "The request was refused; `error` says why."),
            401: OtherAnswer(OAuthError, "The client is unknown, or its secret is wrong."),
        },
    ),
)
