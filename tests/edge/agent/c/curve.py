"""Ed25519 in plain integers (RFC 8032, section 6), to make signatures that no library would."""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
IDENTITY = (0, 1)


def add(p, q):
    """Sum of two points, by the affine law."""
    (x1, y1), (x2, y2) = p, q
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P
    return x, y


def times(k, p):
    """k * p."""
    made = IDENTITY
    while k:
        made = add(made, p) if k & 1 else made
        p, k = add(p, p), k >> 1
    return made


def x_of(y, sign=0):
    """x of a point with this y; None where there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return P - x if x % 2 != sign and x else x


BASE = (x_of(4 * pow(5, -1, P) % P), 4 * pow(5, -1, P) % P)


def encode(p):
    """The 32 bytes of a point."""
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


def whole(value):
    """32 bytes, whatever they stand for."""
    return value.to_bytes(32, "little")


def challenge(r, key, message):
    """h of a signature."""
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


def scalar(secret):
    """The secret scalar of 32 bytes."""
    value = int.from_bytes(hashlib.sha512(secret).digest()[:32], "little")
    return (value & ((1 << 254) - 8)) | 1 << 254


def torsion():
    """The eight points whose order divides 8."""
    y = 2
    while True:
        x = x_of(y)
        if x is not None:
            point = times(L, (x, y))
            if times(4, point) != IDENTITY:
                return [times(k, point) for k in range(8)]
        y += 1
