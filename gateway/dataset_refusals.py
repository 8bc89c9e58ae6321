"""Why something of the public dataset is not told; errors have OpenAI's shape."""

from gateway.errors import RETRY_AFTER_S, ApiError


def no_dataset() -> ApiError:
    """404: the gateway was not told where epochs are published, which no retry changes."""
    return ApiError(
        404,
        "This gateway follows no published epochs; its operator starts it with --store, other gateways of "
        "the network may serve them.",
        code="no_dataset",
    )


def nothing_published() -> ApiError:
    """404: there is no epoch yet."""
    return ApiError(
        404,
        "No epoch that this gateway can read is published yet; the first one is within an epoch's length of "
        "the auditor's start.",
        code="nothing_published",
    )


def epoch_not_found(asked: str, oldest: int, newest: int) -> ApiError:
    """404: the gateway has read no such epoch."""
    return ApiError(
        404,
        f"There is no epoch {asked!r} here; this gateway has read {oldest} to {newest}, and "
        "/v1/dataset/files/epochs/<number>.json has older ones.",
        param="epoch",
        code="epoch_not_found",
    )


def miner_not_found(asked: str, oldest: int, newest: int) -> ApiError:
    """404: no epoch has scored this hotkey."""
    return ApiError(
        404,
        f"No hotkey {asked!r} was scored in the epochs {oldest} to {newest} that this gateway has read; "
        "/v1/scoreboard lists all that were.",
        param="hotkey",
        code="miner_not_found",
    )


def object_not_found(key: str) -> ApiError:
    """404: nothing is published under this key."""
    return ApiError(
        404,
        f"Nothing is published under the key {key!r}; /v1/dataset/epochs lists the keys of each epoch.",
        param="key",
        code="object_not_found",
    )


def range_not_satisfiable(size: int) -> ApiError:
    """416: the object ends before the range begins."""
    return ApiError(
        416,
        f"The object has {size} bytes, which end before the range that was asked for.",
        param="range",
        code="range_not_satisfiable",
        headers={"content-range": f"bytes */{size}"},
    )


def dataset_unavailable(reason: str) -> ApiError:
    """503: what is published can't be read now; everything else works."""
    return ApiError(
        503,
        f"The published epochs can't be read at the moment: {reason}; try again later.",
        kind="server_error",
        code="dataset_unavailable",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def dataset_overloaded() -> ApiError:
    """503: so much of the dataset is read at once that answering models would suffer."""
    return ApiError(
        503,
        "Too many readers of the public dataset at once; inference goes first.",
        kind="server_error",
        code="overloaded",
        headers={"retry-after": "1"},
    )
