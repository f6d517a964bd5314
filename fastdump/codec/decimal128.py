"""Convert the 128-bit decimal numbers of BSON to text and back, with every digit and exponent.

Source: https://github.com/mongodb/specifications/blob/master/source/bson-decimal128/decimal128.md
(the binary integer decimal form of IEEE 754-2008).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

__all__ = ["decimal_bytes", "decimal_text"]

_BIAS, _MIN_EXPONENT, _MAX_EXPONENT = 6176, -6176, 6111
_MAX_DIGITS = 34
_SIGN = 1 << 127
_INFINITY, _NAN = 0b11110 << 122, 0b11111 << 122
_SPECIAL = 0b11111 << 122


def decimal_text(value: bytes) -> str:
    """Return the text of the number in 16 little-endian bytes, as the specification writes it."""
    bits = int.from_bytes(value, "little")
    sign = "-" if bits & _SIGN else ""
    if bits & _SPECIAL == _NAN:
        return "NaN"
    if bits & _SPECIAL == _INFINITY:
        return f"{sign}Infinity"
    if bits >> 125 & 0b11 == 0b11:
        # A coefficient that is too large for 34 digits counts as zero.
        exponent, coefficient = bits >> 111 & 0x3FFF, 0
    else:
        exponent, coefficient = bits >> 113 & 0x3FFF, bits & ((1 << 113) - 1)
        coefficient = 0 if coefficient >= 10**_MAX_DIGITS else coefficient
    number = Decimal((int(bool(sign)), tuple(map(int, str(coefficient))), exponent - _BIAS))
    return str(number)


def decimal_bytes(text: str) -> bytes:
    """Return the 16 little-endian bytes of a number.

    Raises:
        ValueError: the text is not a number, or does not fit 34 digits.
    """
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    sign, digits, exponent = found.as_tuple()
    bits = _SIGN if sign else 0
    if isinstance(exponent, str):
        bits |= _INFINITY if exponent == "F" else _NAN
        return bits.to_bytes(16, "little")
    coefficient, exponent = _fitted(int("".join(map(str, digits))), exponent)
    return (bits | (exponent + _BIAS) << 113 | coefficient).to_bytes(16, "little")


def _fitted(coefficient: int, exponent: int) -> tuple[int, int]:
    """Return an equal number whose exponent and number of digits are allowed."""
    while exponent > _MAX_EXPONENT and coefficient < 10 ** (_MAX_DIGITS - 1) and coefficient:
        coefficient, exponent = coefficient * 10, exponent - 1
    while (exponent < _MIN_EXPONENT or coefficient >= 10**_MAX_DIGITS) and not coefficient % 10:
        if not coefficient:
            break
        coefficient, exponent = coefficient // 10, exponent + 1
    if not coefficient:
        exponent = min(max(exponent, _MIN_EXPONENT), _MAX_EXPONENT)
    if not _MIN_EXPONENT <= exponent <= _MAX_EXPONENT or coefficient >= 10**_MAX_DIGITS:
        raise ValueError("the number does not fit 34 digits")
    return coefficient, exponent
