"""Which credentials boto3 would use, told without showing them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.config import DOTENV_FILE, read_dotenv
from shared.diagnosis import Finding, bad, ok
from shared.errors import ConfigError

KEY_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def check_credentials(environ: Mapping[str, str], dotenv: Path | None = None) -> Finding:
    """Where boto3 finds the key pair. Blocks: it may ask Amazon's own machines for one, for a second."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import get_session

    session: Any = get_session()
    try:
        found = session.get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    except BotoCoreError as error:
        return bad("credentials", f"boto3 can't use the key pair that it is pointed to: {error}", _cure())
    if not found or not frozen:
        return _missing(environ, dotenv or Path(DOTENV_FILE))
    shown = f"{frozen.access_key[:4]}… ({len(frozen.access_key)} characters)"
    if frozen.access_key != frozen.access_key.strip() or frozen.secret_key != frozen.secret_key.strip():
        return bad(
            "credentials",
            f"the key pair {_from(session, found.method)} has blanks or line ends around it",
            "set it again, without them",
        )
    return ok("credentials", f"boto3 uses access key id {shown} {_from(session, found.method)}")


def _from(session: Any, method: str) -> str:
    if method == "env":
        return "from the environment, AWS_ACCESS_KEY_ID"
    profile = session.profile or "default"
    files = {"shared-credentials-file": "credentials_file", "config-file": "config_file"}
    if method in files:
        file = Path(session.get_config_variable(files[method])).expanduser()
        return f"from {file}, profile {profile}"
    return f"from {method}"


def _missing(environ: Mapping[str, str], dotenv: Path) -> Finding:
    half = [name for name in KEY_VARIABLES if environ.get(name)]
    if half:
        missing = next(name for name in KEY_VARIABLES if name not in half)
        return bad("credentials", f"{half[0]} is set and {missing} is not", f"set {missing} too")
    try:
        stranded = [name for name in KEY_VARIABLES if name in read_dotenv(dotenv)]
    except ConfigError:
        stranded = []
    if stranded:
        return bad(
            "credentials",
            f"{dotenv} holds {' and '.join(stranded)}, but boto3 reads the environment only",
            f"set -a; . ./{dotenv.name}; set +a (in the shell that starts the program)",
        )
    return bad("credentials", "boto3 finds no key pair", _cure())


def _cure() -> str:
    return f"set {' and '.join(KEY_VARIABLES)} in the environment, or write ~/.aws/credentials"
