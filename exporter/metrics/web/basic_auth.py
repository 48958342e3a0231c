"""Basic authentication against bcrypt hashes.

bcrypt is slow on purpose. A pair of user and password that was right is remembered as a keyed digest, so that
a scraper pays once. Verifications run in a thread, one at a time, and the client addresses take turns: wrong
passwords from one of them do not hold up the others.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import bcrypt

from exporter.metrics.threads import in_thread

# bcrypt ignores what follows; hashes of longer passwords were made from so much of them.
BCRYPT_BYTES = 72
MAX_REMEMBERED = 1024
# Of one client address, and of all.
MAX_PENDING = 64
MAX_PENDING_OF_ALL = 1024
# Who has one IPv6 address has a network of this size.
IPV6_PREFIX_BITS = 64


class TooManyPending(Exception):
    """Too many passwords wait to be verified."""


@dataclass(frozen=True, slots=True)
class _Verification:
    digest: bytes
    hashed: bytes
    password: bytes
    result: asyncio.Future[bool]


class PasswordVerifier:
    """Verifies passwords, remembering which were right."""

    def __init__(self) -> None:
        # The digests' key is lost with the process: nothing in memory reveals a password.
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._pending: dict[bytes, asyncio.Future[bool]] = {}
        # By client, in the order of their turns.
        self._queues: dict[str, deque[_Verification]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def accepts(
        self, users: Mapping[bytes, bytes], user: bytes, password: bytes, client_host: str
    ) -> bool:
        """Return True if `users` has this user with a hash of this password.

        An unknown user takes as long as a known one with a wrong password.
        Raises: TooManyPending.
        """
        hashed = users.get(user, self._decoy(users, user))
        digest = self._digest(user, hashed, password)
        if digest not in self._right:
            # Many scrapes with the same pair wait for one verification.
            if digest not in self._pending:
                self._enqueue(digest, hashed, password, client_host)
            # Shielded: the others still wait when one of the scrapers leaves.
            if not await asyncio.shield(self._pending[digest]):
                return False
            self._remember(digest)
        else:
            self._right.move_to_end(digest)
        return user in users

    def _enqueue(self, digest: bytes, hashed: bytes, password: bytes, client_host: str) -> None:
        client = _network(client_host)
        queue = self._queues.get(client, deque())
        if len(queue) >= MAX_PENDING or len(self._pending) >= MAX_PENDING_OF_ALL:
            raise TooManyPending
        result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue.append(_Verification(digest, hashed, password, result))
        self._queues[client] = queue
        self._pending[digest] = result
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        """Verify what is enqueued, one of each client in turn."""
        while self._queues:
            client = next(iter(self._queues))
            queue = self._queues.pop(client)
            verification = queue.popleft()
            if queue:
                self._queues[client] = queue
            await self._verify(verification)
        self._worker = None

    async def _verify(self, verification: _Verification) -> None:
        found: list[bool] = []
        password = verification.password[:BCRYPT_BYTES]
        try:
            await in_thread(lambda: found.append(bcrypt.checkpw(password, verification.hashed)))
        except Exception as error:  # noqa: BLE001 - raised to those who wait for the result
            verification.result.set_exception(error)
        else:
            verification.result.set_result(found[0])
        finally:
            del self._pending[verification.digest]

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
        """Return a hash that no password has, always the same for a user, of a cost that `users` have."""
        costs = sorted(hashed[:7] for hashed in users.values())
        chosen = costs[int.from_bytes(self._digest(user)[:8], "big") % len(costs)]
        return chosen + b"." * 53


def read_credentials(values: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """Return user and password from the values of the Authorization header; None unless there is one pair."""
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


def _network(host: str) -> str:
    """Return what the addresses of one client have in common."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))
