"""Basic authentication against bcrypt hashes: who sent this header, and is the password right?

bcrypt is slow on purpose. A pair of user and password that was right is remembered as a keyed digest, so that
a scraper pays once; verifying runs in a thread, one at a time, and not for more than a bounded crowd.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import bcrypt

from exporter.metrics.threads import in_thread

# bcrypt reads no more; hashes of longer passwords were made from so much of them.
BCRYPT_BYTES = 72
MAX_REMEMBERED = 1024
MAX_PENDING = 64


class TooManyPending(Exception):
    """More passwords wait to be verified than will be."""


class PasswordVerifier:
    """Verifies passwords, remembering which were right."""

    def __init__(self) -> None:
        # Digests under a key that dies with the process: nothing in memory tells a password.
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._pending: dict[bytes, asyncio.Task[bool]] = {}
        self._turn = asyncio.Lock()

    async def accepts(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
        """True when `users` has this user with a hash of this password.

        An unknown user takes as long as a known one with a wrong password.
        Raises: TooManyPending.
        """
        hashed = users.get(user, self._decoy(users, user))
        digest = self._digest(user, hashed, password)
        if digest not in self._right:
            # Many scrapes with the same pair wait for one verification.
            if digest not in self._pending:
                self._begin(digest, hashed, password)
            # Shielded: the others still wait when one of the scrapers leaves.
            if not await asyncio.shield(self._pending[digest]):
                return False
            self._remember(digest)
        else:
            self._right.move_to_end(digest)
        return user in users

    def _begin(self, digest: bytes, hashed: bytes, password: bytes) -> None:
        if len(self._pending) >= MAX_PENDING:
            raise TooManyPending
        task = asyncio.create_task(self._verify(hashed, password))
        self._pending[digest] = task
        task.add_done_callback(lambda _: self._pending.pop(digest))

    async def _verify(self, hashed: bytes, password: bytes) -> bool:
        found: list[bool] = []
        async with self._turn:
            await in_thread(lambda: found.append(bcrypt.checkpw(password[:BCRYPT_BYTES], hashed)))
        return found[0]

    def _remember(self, digest: bytes) -> None:
        self._right[digest] = None
        while len(self._right) > MAX_REMEMBERED:
            self._right.popitem(last=False)

    def _digest(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._key)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def _decoy(self, users: Mapping[bytes, bytes], user: bytes) -> bytes:
        """A hash that no password has, always the same for a user, of a cost that one of `users` has."""
        costs = sorted(hashed[:7] for hashed in users.values())
        chosen = costs[int.from_bytes(self._digest(user)[:8], "big") % len(costs)]
        return chosen + b"." * 53


def read_credentials(values: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """User and password from the values of the Authorization header, None without exactly one such pair."""
    given = list(values)
    if len(given) != 1:
        return None
    scheme, _, encoded = given[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None
    user, colon, password = decoded.partition(b":")
    return (user, password) if colon else None
