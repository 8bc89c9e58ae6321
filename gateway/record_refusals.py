"""Why somebody gets no records: answers of GET /v1/records, which only auditors ask for."""

from gateway.errors import RETRY_AFTER_S, ApiError


def may_not_read_records(reason: str) -> ApiError:
    """403: the record log is for auditors that the gateway trusts."""
    return ApiError(
        403,
        f"Only auditors that this gateway trusts may read its records: {reason}. "
        "Its operator lists them with --trusted-callers.",
        kind="permission_error",
        code="may_not_read_records",
    )


def records_unavailable() -> ApiError:
    """503: the log can't be read, or nobody can say who may."""
    return ApiError(
        503,
        "The records can't be read now; try again in a moment.",
        kind="server_error",
        code="records_unavailable",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )
