"""Users and passwords: which are right, what is remembered, and how many wait."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import TypeVar

import bcrypt
import pytest

from exporter.metrics.web import basic_auth as authentication
from exporter.metrics.web.basic_auth import (
    BCRYPT_BYTES,
    MAX_PENDING,
    MAX_REMEMBERED,
    PasswordVerifier,
    TooManyPending,
    read_credentials,
)

Result = TypeVar("Result")
CLIENT = "192.0.2.1"
LONG = b"x" * BCRYPT_BYTES
USERS = {
    name: bcrypt.hashpw(password, bcrypt.gensalt(cost))
    for name, password, cost in [(b"alice", b"secret", 4), (b"bob", b"hunter2", 5), (b"carol", LONG, 4)]
}


def run(work: Callable[[PasswordVerifier], Awaitable[Result]]) -> Result:
    async def main() -> Result:
        return await work(PasswordVerifier())

    return asyncio.run(main())


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """Password and hash of every verification that really ran."""
    ran: list[tuple[bytes, bytes]] = []
    verify = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        ran.append((password, hashed))
        return verify(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return ran


@pytest.mark.parametrize(
    ("user", "password", "is_right"),
    [
        (b"alice", b"secret", True),
        (b"alice", b"hunter2", False),
        (b"alice", b"", False),
        (b"alice", b"sec\0ret", False),
        (b"Alice", b"secret", False),
        (b"", b"", False),
        (b"nobody", b"secret", False),
        (b"carol", LONG, True),
        (b"carol", LONG + b"and more", True),
        (b"carol", LONG[:-1], False),
        (b"carol", b"x" * 10_000, True),
    ],
)
def test_only_the_right_password_of_a_known_user_is_right(
    user: bytes, password: bytes, is_right: bool
) -> None:
    assert run(lambda verifier: verifier.accepts(USERS, user, password, CLIENT)) is is_right


@pytest.mark.parametrize("prefix", [b"$2a$", b"$2b$", b"$2y$"])
def test_hashes_of_all_prefixes_are_verified(prefix: bytes) -> None:
    users = {b"alice": prefix + USERS[b"alice"][4:]}

    assert run(lambda verifier: verifier.accepts(users, b"alice", b"secret", CLIENT))


def test_a_right_password_is_verified_once(verifications: list[tuple[bytes, bytes]]) -> None:
    async def ask(verifier: PasswordVerifier) -> list[bool]:
        return [await verifier.accepts(USERS, b"alice", b"secret", CLIENT) for _ in range(5)]

    assert run(ask) == [True] * 5
    assert verifications == [(b"secret", USERS[b"alice"])]


def test_scrapes_at_once_share_one_verification(verifications: list[tuple[bytes, bytes]]) -> None:
    async def ask(verifier: PasswordVerifier) -> list[bool]:
        return await asyncio.gather(
            *(verifier.accepts(USERS, b"alice", b"secret", CLIENT) for _ in range(500))
        )

    assert run(ask) == [True] * 500
    assert len(verifications) == 1


def test_a_wrong_password_is_verified_every_time(verifications: list[tuple[bytes, bytes]]) -> None:
    async def ask(verifier: PasswordVerifier) -> list[bool]:
        return [await verifier.accepts(USERS, b"alice", b"wrong", CLIENT) for _ in range(3)]

    assert run(ask) == [False] * 3
    assert len(verifications) == 3


def test_an_unknown_user_costs_as_much_as_a_known_one(verifications: list[tuple[bytes, bytes]]) -> None:
    async def ask(verifier: PasswordVerifier) -> list[bool]:
        names = [b"nobody%d" % number for number in range(30)]
        return [await verifier.accepts(USERS, name, b"secret", CLIENT) for name in names * 2]

    assert run(ask) == [False] * 60
    hashes = [hashed for _, hashed in verifications]
    # A name has always the same cost, and names in sum have the costs that are there.
    assert hashes[:30] == hashes[30:]
    assert {hashed[:7] for hashed in hashes} == {b"$2b$04$", b"$2b$05$"}
    assert not set(hashes) & set(USERS.values())


def test_a_user_who_was_removed_or_changed_is_not_remembered() -> None:
    async def ask(verifier: PasswordVerifier) -> list[bool]:
        changed = {**USERS, b"alice": bcrypt.hashpw(b"other", bcrypt.gensalt(4))}
        removed = {b"bob": USERS[b"bob"]}
        return [
            await verifier.accepts(users, b"alice", b"secret", CLIENT)
            for users in (USERS, changed, removed, USERS)
        ]

    assert run(ask) == [True, False, False, True]


def test_a_scraper_that_leaves_does_not_take_the_verification_with_it() -> None:
    async def ask(verifier: PasswordVerifier) -> bool:
        first = asyncio.create_task(verifier.accepts(USERS, b"bob", b"hunter2", CLIENT))
        second = asyncio.create_task(verifier.accepts(USERS, b"bob", b"hunter2", CLIENT))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert run(ask)


def test_the_number_of_passwords_that_wait_is_bounded_and_does_not_bar_the_remembered(
    verifications: list[tuple[bytes, bytes]],
) -> None:
    async def ask(verifier: PasswordVerifier) -> tuple[int, int, bool]:
        assert await verifier.accepts(USERS, b"alice", b"secret", CLIENT)
        guesses = (verifier.accepts(USERS, b"alice", b"guess %d" % number, CLIENT) for number in range(200))
        guessing = asyncio.gather(*guesses, return_exceptions=True)
        await asyncio.sleep(0)
        is_right = await verifier.accepts(USERS, b"alice", b"secret", CLIENT)
        answers = await guessing
        refused = sum(isinstance(answer, TooManyPending) for answer in answers)
        return refused, answers.count(False), is_right

    assert run(ask) == (200 - MAX_PENDING, MAX_PENDING, True)
    assert len(verifications) == 1 + MAX_PENDING


@pytest.mark.parametrize(
    ("guesser", "scraper"),
    [(CLIENT, "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1"), (f"::ffff:{CLIENT}", "::ffff:192.0.2.2")],
)
def test_guesses_from_one_address_do_not_hold_up_another(
    guesser: str, scraper: str, verifications: list[tuple[bytes, bytes]]
) -> None:
    async def ask(verifier: PasswordVerifier) -> bool:
        guesses = [verifier.accepts(USERS, b"alice", b"guess %d" % number, guesser) for number in range(200)]
        guessing = asyncio.gather(*guesses, return_exceptions=True)
        await asyncio.sleep(0)
        is_right = await verifier.accepts(USERS, b"bob", b"hunter2", scraper)
        before = len(verifications)
        await guessing
        assert before < 5
        return is_right

    assert run(ask)


@pytest.mark.parametrize("other", ["2001:db8::2", "2001:db8::ffff:1"])
def test_the_addresses_of_one_network_of_ipv6_are_one_client(other: str) -> None:
    async def ask(verifier: PasswordVerifier) -> bool:
        guesses = [
            verifier.accepts(USERS, b"alice", b"guess %d" % number, "2001:db8::1")
            for number in range(MAX_PENDING)
        ]
        guessing = asyncio.gather(*guesses)
        await asyncio.sleep(0)
        with pytest.raises(TooManyPending):
            await verifier.accepts(USERS, b"bob", b"hunter2", other)
        await guessing
        return True

    assert run(ask)


def test_a_fault_of_the_library_is_raised_to_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def checkpw(password: bytes, hashed: bytes) -> bool:
        raise ValueError("Invalid salt")

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)

    async def ask(verifier: PasswordVerifier) -> list[bool | BaseException]:
        asked = (verifier.accepts(USERS, b"alice", b"secret", CLIENT) for _ in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [type(answer) for answer in run(ask)] == [ValueError, ValueError]


def test_what_is_remembered_is_bounded_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "MAX_REMEMBERED", 3)

    async def ask(verifier: PasswordVerifier) -> PasswordVerifier:
        # More bytes than count: they are right in any number of forms.
        for number in range(6):
            assert await verifier.accepts(USERS, b"carol", LONG + b"%d" % number, CLIENT)
        return verifier

    remembered = run(ask)._right

    assert MAX_REMEMBERED > 3
    assert len(remembered) == 3
    assert all(len(digest) == 64 and LONG not in digest for digest in remembered)


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("values", "credentials"),
    [
        ([basic(b"alice:secret")], (b"alice", b"secret")),
        ([basic(b"alice:se:cr:et")], (b"alice", b"se:cr:et")),
        ([basic(b":")], (b"", b"")),
        ([b"basic  " + base64.b64encode(b"a:b") + b" "], (b"a", b"b")),
        ([basic("bøb:pässword".encode())], ("bøb".encode(), "pässword".encode())),
        ([basic(b"\xff:\x00")], (b"\xff", b"\x00")),
        ([basic(b"alice")], None),
        ([], None),
        ([basic(b"a:b"), basic(b"a:b")], None),
        ([b"Basic"], None),
        ([b"Basic !!!!"], None),
        ([b"Basic YTpi\xff"], None),
        ([b"Basic YTp"], None),
        ([b"Bearer YTpi"], None),
        ([b""], None),
    ],
)
def test_the_authorization_header(values: list[bytes], credentials: tuple[bytes, bytes] | None) -> None:
    assert read_credentials(values) == credentials
