/* SPDX-License-Identifier: Apache-2.0 */
#include "firnline_ed25519.h"

#include "firnline_bytes.h"
#include "firnline_field.h"
#include "firnline_sha2.h"

/* x = X / Z, y = Y / Z, x * y = T / Z (RFC 8032, 5.1.4). */
typedef struct {
    number x, y, z, t;
} point;

/* A point as the second operand of a sum: Y + X, Y - X, 2 * Z, 2 * d * T. */
typedef struct {
    number sum, difference, z, t;
} addend;

/* The curve's d, its double, and a root of -1. */
static const number D = {
    0x135978a3u, 0x75eb4dcau, 0x4141d8abu, 0x00700a4du,
    0x7779e898u, 0x8cc74079u, 0x2b6ffe73u, 0x52036ceeu};
static const number D2 = {
    0x26b2f159u, 0xebd69b94u, 0x8283b156u, 0x00e0149au,
    0xeef3d130u, 0x198e80f2u, 0x56dffce7u, 0x2406d9dcu};
static const number ROOT = {
    0x4a0ea0b0u, 0xc4ee1b27u, 0xad2fe478u, 0x2f431806u,
    0x3dfbd7a7u, 0x2b4d0099u, 0x4fc1df0bu, 0x2b832480u};

/* The base point. */
static const number BASE_X = {
    0x8f25d51au, 0xc9562d60u, 0x9525a7b2u, 0x692cc760u,
    0xfdd6dc5cu, 0xc0a4e231u, 0xcd6e53feu, 0x216936d3u};
static const number BASE_Y = {
    0x66666658u, 0x66666666u, 0x66666666u, 0x66666666u,
    0x66666666u, 0x66666666u, 0x66666666u, 0x66666666u};

/* Its order L (5.1). */
static const number ORDER = {
    0x5cf5d3edu, 0x5812631au, 0xa2f79cd6u, 0x14def9deu,
    0x00000000u, 0x00000000u, 0x00000000u, 0x10000000u};

/* r = p + q (RFC 8032, 5.1.4); complete, so that no pair of points is an exception. */
static void add_points(point *r, const point *p, const addend *q)
{
    number a, b, c, d;
    subtract(a, p->y, p->x);
    multiply(a, a, q->difference);
    add(b, p->y, p->x);
    multiply(b, b, q->sum);
    multiply(c, p->t, q->t);
    multiply(d, p->z, q->z);
    subtract(r->x, b, a);
    add(r->y, b, a);
    add(r->z, d, c);
    subtract(r->t, d, c);
    /* Now e, h, g and f of the RFC lie in x, y, z and t. */
    multiply(a, r->x, r->y);
    multiply(r->x, r->x, r->t);
    multiply(r->y, r->y, r->z);
    multiply(r->z, r->z, r->t);
    copy(r->t, a);
}

/* p = 2 * p; its t is left out where no sum follows. */
static void double_point(point *p, int with_t)
{
    number a, b, c;
    square(a, p->x);
    square(b, p->y);
    square(c, p->z);
    add(c, c, c);
    add(p->x, p->x, p->y);
    square(p->x, p->x);
    add(p->y, a, b);
    subtract(p->x, p->y, p->x);
    subtract(p->z, a, b);
    add(p->t, c, p->z);
    if (with_t != 0) {
        multiply(a, p->x, p->y);
    }
    multiply(p->x, p->x, p->t);
    multiply(p->y, p->y, p->z);
    multiply(p->z, p->z, p->t);
    copy(p->t, a);
}

static void as_addend(addend *r, const point *p)
{
    add(r->sum, p->y, p->x);
    subtract(r->difference, p->y, p->x);
    add(r->z, p->z, p->z);
    multiply(r->t, p->t, D2);
}

static void from_xy(point *r, const number x, const number y)
{
    copy(r->x, x);
    copy(r->y, y);
    copy(r->z, ONE);
    multiply(r->t, x, y);
}

/* The point of an encoding (5.1.3), its x negated; 0 where there is none, or another encoding is
 * the right one. */
static int negated_point(point *r, const uint8_t *encoded)
{
    number x, y, u, v, root, power;
    load(y, encoded);
    const uint32_t sign = y[WORDS - 1u] >> 31;
    y[WORDS - 1u] &= 0x7fffffffu;
    copy(x, y);
    reduce(x);
    if (is_same(x, y) == 0) {
        return 0;
    }
    /* x^2 = u / v, so x = u * v^3 * (u * v^7)^((p - 5) / 8), or that times the root of -1. */
    square(u, y);
    multiply(v, u, D);
    subtract(u, u, ONE);
    add(v, v, ONE);
    square(x, v);
    multiply(x, x, v);
    square(root, x);
    multiply(root, root, v);
    multiply(root, root, u);
    power_root(power, root);
    multiply(x, x, u);
    multiply(x, x, power);
    square(root, x);
    multiply(root, root, v);
    if (equal(root, u) == 0) {
        multiply(x, x, ROOT);
        square(root, x);
        multiply(root, root, v);
        if (equal(root, u) == 0) {
            return 0;
        }
    }
    reduce(x);
    if ((sign != 0u) && (is_same(x, ZERO) != 0)) {
        return 0;
    }
    if ((x[0] & 1u) == sign) {
        subtract(x, ZERO, x);
    }
    from_xy(r, x, y);
    return 1;
}

static int of_small_order(const point *p)
{
    point eighth = *p;
    for (uint32_t i = 0u; i < 3u; i++) {
        double_point(&eighth, 0);
    }
    return equal(eighth.x, ZERO);
}

/* The remainder of 512 bits by the order, bit after bit. */
static void remainder_by_order(number r, const uint8_t digest[FIRNLINE_SHA512_BYTES])
{
    number less;
    copy(r, ZERO);
    for (uint32_t bit = 512u; bit > 0u; bit--) {
        const uint32_t at = bit - 1u;
        for (uint32_t i = WORDS - 1u; i > 0u; i--) {
            r[i] = (r[i] << 1) | (r[i - 1u] >> 31);
        }
        r[0] = (r[0] << 1) | (((uint32_t)digest[at / 8u] >> (at % 8u)) & 1u);
        if (subtract_words(less, r, ORDER) == 0u) {
            copy(r, less);
        }
    }
}

/* r = s * base + k * p, two bits of both scalars at a time (Shamir's trick). */
static void combine(point *r, const number s, const number k, const point *p)
{
    addend table[16]; /* i * base + j * p at 4 * j + i */
    addend step[2];
    point at;
    from_xy(&at, BASE_X, BASE_Y);
    as_addend(&step[0], &at);
    as_addend(&step[1], p);
    from_xy(r, ZERO, ONE);
    for (uint32_t j = 0u; j < 4u; j++) {
        at = *r;
        for (uint32_t i = 0u; i < 4u; i++) {
            as_addend(&table[(4u * j) + i], &at);
            add_points(&at, &at, &step[0]);
        }
        add_points(r, r, &step[1]);
    }
    from_xy(r, ZERO, ONE);
    for (uint32_t bit = 254u; bit > 0u; bit -= 2u) {
        const uint32_t word = (bit - 2u) / 32u;
        const uint32_t place = (bit - 2u) % 32u;
        const uint32_t chosen = ((s[word] >> place) & 3u) | (((k[word] >> place) & 3u) << 2);
        double_point(r, 0);
        double_point(r, 1);
        if (chosen != 0u) {
            add_points(r, r, &table[chosen]);
        }
    }
}

static void encode(uint8_t *to, const point *p)
{
    number x, y, inverse;
    invert(inverse, p->z);
    multiply(x, p->x, inverse);
    multiply(y, p->y, inverse);
    reduce(x);
    reduce(y);
    y[WORDS - 1u] |= x[0] << 31;
    store(to, y);
}

int firnline_ed25519_verify(const uint8_t signature[FIRNLINE_ED25519_SIGNATURE_BYTES],
                            const uint8_t *message, size_t length,
                            const uint8_t key[FIRNLINE_ED25519_KEY_BYTES])
{
    firnline_sha512 hash;
    uint8_t digest[FIRNLINE_SHA512_BYTES];
    number s, k, less;
    point negated, made;
    load(s, &signature[32]);
    if (subtract_words(less, s, ORDER) == 0u) {
        return 0;
    }
    if ((negated_point(&negated, key) == 0) || (of_small_order(&negated) != 0)) {
        return 0;
    }
    firnline_sha512_begin(&hash);
    firnline_sha512_update(&hash, signature, 32u);
    firnline_sha512_update(&hash, key, FIRNLINE_ED25519_KEY_BYTES);
    firnline_sha512_update(&hash, message, length);
    firnline_sha512_end(&hash, digest);
    remainder_by_order(k, digest);
    /* R = s * B - k * A; its one encoding is compared, so no other of the same point passes. */
    combine(&made, s, k, &negated);
    encode(digest, &made);
    return firnline_same_bytes(digest, signature, 32u);
}
