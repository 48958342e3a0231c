"""The checksum of gzip for two texts in a row, from those of each; isal has it, Python's zlib has not."""

from __future__ import annotations

# Polynomials over GF(2), the coefficient of x^0 in the highest of 32 bits; this is gzip's, without x^32.
_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
_X_TO_THE_8 = 1 << 23


def crc32_combine(first: int, second: int, second_length: int) -> int:
    """The CRC-32 of two texts together, `second_length` being the bytes of the second one."""
    # A text moves what stands before it up by eight powers of x for each of its bytes.
    power, square, length = _ONE, _X_TO_THE_8, second_length
    while length:
        if length & 1:
            power = _multiply(power, square)
        square = _multiply(square, square)
        length >>= 1
    return _multiply(first, power) ^ second


def _multiply(one: int, other: int) -> int:
    """The product modulo gzip's polynomial."""
    product = 0
    while one:
        if one & _ONE:
            product ^= other
        one = (one << 1) & 0xFFFFFFFF
        other = (other >> 1) ^ (_POLYNOMIAL if other & 1 else 0)
    return product
