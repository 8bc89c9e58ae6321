import pytest

from shared.errors import StoreError
from validator.store_explanations import Place, explain

R2 = Place("epochs", "https://0123.r2.cloudflarestorage.com", "auto")
MINIO = Place("epochs", "https://s3.example.org", "eu-1")


def told(code: str, place: Place = MINIO, message: str = "the service said no") -> str:
    words, cure = explain(StoreError(message, code), place)
    return f"{words} → {cure}"


@pytest.mark.parametrize(
    ("code", "words", "cure"),
    [
        ("NoSuchBucket", "no bucket epochs at https://s3.example.org", "make the bucket"),
        ("InvalidBucketName", "'epochs' is no name", "correct its name"),
        ("InvalidAccessKeyId", "does not know this access key id", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "the secret is not that of the access key id", "AWS_SECRET_ACCESS_KEY"),
        ("AccessDenied", "forbids", "leave to read, list and write"),
        ("Unauthorized", "without saying why", "another account"),
        ("RequestTimeTooSkewed", "too old or too new", "timedatectl"),
        ("AuthorizationHeaderMalformed", "the region 'eu-1' is not", "--store-region"),
        ("PermanentRedirect", "another region or endpoint", "--store-region"),
        ("SecondLevelDomainForbidden", "in the host, not in the path", "addressing_style = virtual"),
        ("405", "does not speak S3", "--store-endpoint"),
        ("NotImplemented", "does not know what was asked", "If-None-Match"),
        ("NoCredentialsError", "no complete key pair", "AWS_ACCESS_KEY_ID"),
        ("SlowDown", "overloaded", "try again"),
        ("QuotaExceeded", "store no more", "limit"),
    ],
)
def test_each_error_has_words_and_a_cure(code: str, words: str, cure: str) -> None:
    found = told(code)
    said, _, to_do = found.partition(" → ")
    assert words in said
    assert f"({code})" in said
    assert cure in to_do
    assert "{" not in found


def test_an_error_that_nobody_knows_is_told_as_the_service_says_it() -> None:
    assert told("Surprise", message="a hamster ran off").startswith("a hamster ran off →")


def test_r2_has_cures_of_its_own_and_others_do_not_hear_of_it() -> None:
    for code, of_r2 in (
        ("Unauthorized", "checksum trailers"),
        ("NoSuchBucket", "EU's jurisdiction"),
        ("AccessDenied", "Object Read & Write, applied to bucket epochs"),
        ("InvalidAccessKeyId", "Access Key ID (32 characters)"),
        ("InvalidRegionName", "that of R2 is auto"),
    ):
        assert of_r2 in told(code, R2)
        assert of_r2 not in told(code)
        assert "|" not in told(code, R2) + told(code)


def test_a_tokens_value_in_the_place_of_its_key_id_is_recognised() -> None:
    message = "An error occurred (InvalidArgument): Credential access key has length 40, should be 32"
    assert "an API token's value was put in its place" in told("InvalidArgument", R2, message)


def test_other_hosts_that_name_r2_are_not_r2() -> None:
    assert R2.is_r2
    assert not Place("b", "https://r2.cloudflarestorage.com.example.org", "auto").is_r2
    assert not Place("b", "https://evil.org/.r2.cloudflarestorage.com", "auto").is_r2
