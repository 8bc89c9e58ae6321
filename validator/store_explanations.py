"""What an S3-compatible service means by an error, and what its operator does about it. Pure."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.errors import StoreError

R2_DOMAIN = ".r2.cloudflarestorage.com"


@dataclass(frozen=True)
class Place:
    """The store as its operator named it; `endpoint` is where requests go."""

    bucket: str
    endpoint: str
    region: str

    @property
    def is_r2(self) -> bool:
        """Whether this is Cloudflare R2."""
        return (urlsplit(self.endpoint).hostname or "").endswith(R2_DOMAIN)


def explain(error: StoreError, place: Place) -> tuple[str, str]:
    """(what happened, what to do) for a failed request."""
    for codes, words, cure in _EXPLANATIONS:
        if error.code in codes:
            return f"{words} ({error.code})".format(place=place), _cure(cure, place)
    if "access key has length" in str(error):
        words = "the access key id is not one: an API token's value was put in its place"
        return words, _cure(_KEYS, place)
    return str(error), "the service's own words stand here; its documentation says what they mean"


def _cure(cure: str, place: Place) -> str:
    """The cure in the words of this place; what stands behind `|` holds for R2 alone."""
    general, _, for_r2 = cure.partition("|")
    return (general + (for_r2 if place.is_r2 else "")).format(place=place)


_KEYS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key pair of this service"
    "|: R2 shows them once, when the API token is made, as Access Key ID (32 characters) and Secret Access "
    "Key (64); the token's value is neither"
)
_BUCKET = (
    "make the bucket, or correct its name in --store s3://NAME/prefix"
    "|; the endpoint is https://ACCOUNT_ID.r2.cloudflarestorage.com, or with .eu before .r2 for a bucket in "
    "the EU's jurisdiction, which is found at that address only"
)
_PERMISSION = (
    "give the key leave to read, list and write objects of this bucket"
    "|: Object Read & Write, applied to bucket {place.bucket}, under Manage API tokens of R2"
)
_REGION = "give the bucket's region with --store-region|; that of R2 is auto"
_STYLE = (
    "let boto3 put the bucket's name into the host: in ~/.aws/config, below [default], the lines `s3 =` and "
    "`    addressing_style = virtual`"
)
_WEB = (
    "give the service's S3 endpoint with --store-endpoint, not the address of its console or of public files"
)

_EXPLANATIONS: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset({"NoSuchBucket"}), "there is no bucket {place.bucket} at {place.endpoint}", _BUCKET),
    (
        frozenset({"InvalidBucketName"}),
        "{place.bucket!r} is no name that a bucket can have",
        _BUCKET,
    ),
    (
        frozenset({"InvalidAccessKeyId", "NoSuchKeyPair", "UnknownAccessKeyId"}),
        "the service does not know this access key id",
        _KEYS,
    ),
    (
        frozenset({"SignatureDoesNotMatch"}),
        "the signature is wrong: the secret is not that of the access key id, or a proxy changes requests",
        _KEYS,
    ),
    (
        frozenset({"Unauthorized", "401"}),
        "the service refuses the key without saying why",
        "the key is of another account or another bucket, or was revoked"
        "|. R2 says the same to programs that send checksum trailers (aws-cli and boto3 by default), which "
        "this one never does: so it is the token, or an endpoint of another account or jurisdiction",
    ),
    (
        frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}),
        "the service knows the key and forbids it this",
        _PERMISSION,
    ),
    (
        frozenset({"RequestTimeTooSkewed", "RequestExpired", "ExpiredToken"}),
        "the service takes the request for too old or too new",
        "set this machine's clock: timedatectl set-ntp true; with temporary credentials, take new ones",
    ),
    (
        frozenset(
            {
                "AuthorizationHeaderMalformed",
                "InvalidRegionName",
                "IllegalLocationConstraintException",
                "InvalidRegion",
                "BucketRegionError",
            }
        ),
        "the region {place.region!r} is not that of the bucket",
        _REGION,
    ),
    (
        frozenset({"PermanentRedirect", "TemporaryRedirect", "301", "302", "307", "308"}),
        "the service sends requests for this bucket elsewhere: it has another region or endpoint",
        _REGION,
    ),
    (
        frozenset({"SecondLevelDomainForbidden", "InvalidPathAccess", "VirtualHostDomainRequired"}),
        "the service wants the bucket's name in the host, not in the path",
        _STYLE,
    ),
    (
        frozenset({"404", "405", "MethodNotAllowed"}),
        "what answers at {place.endpoint} does not speak S3",
        _WEB,
    ),
    (
        frozenset({"NotImplemented", "501"}),
        "the service does not know what was asked of it",
        "take a service that honours If-None-Match: * when objects are written (R2, Amazon S3, MinIO)",
    ),
    (
        frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}),
        "boto3 finds no complete key pair",
        _KEYS,
    ),
    (
        frozenset(
            {"SlowDown", "TooManyRequests", "429", "503", "ServiceUnavailable", "InternalError", "500"}
        ),
        "the service is overloaded or out of order",
        "try again in some minutes",
    ),
    (
        frozenset({"QuotaExceeded", "StorageQuotaExceeded", "NotEntitled", "507"}),
        "the account may store no more",
        "make room, or raise the account's limit",
    ),
)
