"""Advisory claims."""

from app.openapi.operation import Body, Family, Operation, answer, nothing, page

FAMILY = Family(
    "Advisory claims",
    "Who is at work at some paths, and why. A claim blocks nobody, and ends by itself.",
    {
        "claims.create": Operation(
            id="createClaim",
            summary="Claim some paths, for a while",
            body=Body("NewClaim", {"a chapter": {"paths": ["web/guide/"], "intent": "A new chapter", "ttl": 600}}),
            answers={201: answer("The claim", "Claim")},
            problems=("forbidden", "invalid"),
        ),
        "claims.listing": Operation(
            id="listClaims",
            summary="List claims",
            text="All; or those at a path, above it and below it, in the order of their paths; or a principal's.",
            query=("limit", "cursor", "path", "encoding", "principal"),
            answers={200: page("Claim")},
            problems=("invalid",),
        ),
        "claims.renew": Operation(
            id="renewClaim",
            summary="Let a claim last for some time from now on",
            body=Body("ClaimRenewal", {"ten minutes more": {"ttl": 600, "intent": "A new chapter, and its pictures"}}),
            answers={200: answer("The claim", "Claim")},
            problems=("forbidden", "not-found", "invalid"),
        ),
        "claims.remove": Operation(
            id="endClaim",
            summary="End a claim",
            answers={204: nothing("It has ended")},
            problems=("forbidden", "not-found", "invalid"),
        ),
    },
)
