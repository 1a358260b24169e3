"""The form of a token, by which a scanner finds it and a typing error is told."""

from __future__ import annotations

import random
import re
import string
import zlib

import pytest

from storage.access.new_secret import new_secret
from storage.access.tokens import hash_of, is_well_formed


def test_a_new_token_is_well_formed_and_unlike_any_other() -> None:
    made = [new_secret() for _ in range(1000)]
    assert len(set(made)) == 1000
    for secret in made:
        assert re.fullmatch(r"slc_[0-9A-Za-z]{36}", secret) and is_well_formed(secret)


def test_the_checksum_is_the_crc32_of_the_random_part_in_base_62() -> None:
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    secret = new_secret()
    number = 0
    for digit in secret[-6:]:
        number = number * 62 + digits.index(digit)
    assert number == zlib.crc32(secret[4:-6].encode())


def test_every_single_typing_error_is_told() -> None:
    chance = random.Random(1)
    secret = new_secret()
    for at in range(4, len(secret)):
        other = chance.choice([each for each in string.ascii_letters + string.digits if each != secret[at]])
        assert not is_well_formed(secret[:at] + other + secret[at + 1 :])


@pytest.mark.parametrize(
    "secret", ["", "slc_", "ghp_" + "0" * 36, "slc_" + "0" * 37, "slc_" + "0" * 35, "slc_" + "é" * 36]
)
def test_what_is_no_token_is_told(secret: str) -> None:
    assert not is_well_formed(secret)


def test_a_hash_is_the_sha256() -> None:
    assert hash_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
