/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic on 256 bits, by itself and modulo p = 2^255 - 19, for the one source that includes
 * this: compilers see all of it at once, and keep what is used.
 */
#ifndef FIRNLINE_FIELD_H
#define FIRNLINE_FIELD_H

#include <stdint.h>

#define WORDS 8u

/* A number of 256 bits, least word first. As an element of the field it stands for its remainder
 * by p = 2^255 - 19, and need not be the least: 2^256 is 38. */
typedef uint32_t number[WORDS];

static const number ZERO = {0u};
static const number ONE = {1u};

static void copy(number r, const number a)
{
    for (uint32_t i = 0u; i < WORDS; i++) {
        r[i] = a[i];
    }
}

/* Whether two numbers are the same words. */
static int is_same(const number a, const number b)
{
    uint32_t differing = 0u;
    for (uint32_t i = 0u; i < WORDS; i++) {
        differing |= a[i] ^ b[i];
    }
    return (differing == 0u) ? 1 : 0;
}

static uint64_t product(uint32_t a, uint32_t b)
{
#if defined(__ARM_ARCH_6M__)
    /* The core multiplies to 32 bits alone. No sum here passes them: (2^16 - 1)^2 + 2^16 - 1 is
     * 2^32 - 2^16. */
    const uint32_t a0 = a & 0xffffu;
    const uint32_t a1 = a >> 16;
    const uint32_t b0 = b & 0xffffu;
    const uint32_t b1 = b >> 16;
    const uint32_t low = a0 * b0;
    const uint32_t middle = (a1 * b0) + (low >> 16);
    const uint32_t other = (a0 * b1) + (middle & 0xffffu);
    const uint32_t high = (a1 * b1) + (middle >> 16) + (other >> 16);
    return ((uint64_t)high << 32) | (other << 16) | (low & 0xffffu);
#else
    return (uint64_t)a * b;
#endif
}

/* r += by * 38, what passes 2^256 being 38 again. `by` is at most 38: a second turn, for a carry of
 * 1, begins with r below 38 * 38, and is the last. */
static void fold(number r, uint32_t by)
{
    while (by != 0u) {
        uint64_t carry = product(by, 38u);
        for (uint32_t i = 0u; i < WORDS; i++) {
            carry += r[i];
            r[i] = (uint32_t)carry;
            carry >>= 32;
        }
        by = (uint32_t)carry;
    }
}

static void add(number r, const number a, const number b)
{
    uint64_t carry = 0u;
    for (uint32_t i = 0u; i < WORDS; i++) {
        carry += (uint64_t)a[i] + b[i];
        r[i] = (uint32_t)carry;
        carry >>= 32;
    }
    fold(r, (uint32_t)carry);
}

/* r = a - b, and 1 where that is below 0. */
static uint32_t subtract_words(number r, const number a, const number b)
{
    uint32_t borrow = 0u;
    for (uint32_t i = 0u; i < WORDS; i++) {
        const uint64_t difference = (uint64_t)a[i] - b[i] - borrow;
        r[i] = (uint32_t)difference;
        borrow = (uint32_t)(difference >> 63);
    }
    return borrow;
}

static void subtract(number r, const number a, const number b)
{
    static const number fold_back = {38u};
    uint32_t borrow = subtract_words(r, a, b);
    /* Borrowed again, r is at least 2^256 - 38: two turns at most. */
    while (borrow != 0u) {
        borrow = subtract_words(r, r, fold_back);
    }
}

static void multiply(number r, const number a, const number b)
{
    uint32_t wide[2u * WORDS] = {0u};
    for (uint32_t i = 0u; i < WORDS; i++) {
        uint32_t carry = 0u;
        for (uint32_t j = 0u; j < WORDS; j++) {
            /* (2^32 - 1)^2 + 2 * (2^32 - 1) is 2^64 - 1. */
            const uint64_t sum = product(a[i], b[j]) + wide[i + j] + carry;
            wide[i + j] = (uint32_t)sum;
            carry = (uint32_t)(sum >> 32);
        }
        wide[i + WORDS] = carry;
    }
    uint32_t carry = 0u; /* At most 38: 38 * (2^32 - 1) + (2^32 - 1) + 38 is below 39 * 2^32. */
    for (uint32_t i = 0u; i < WORDS; i++) {
        const uint64_t sum = product(wide[i + WORDS], 38u) + wide[i] + carry;
        r[i] = (uint32_t)sum;
        carry = (uint32_t)(sum >> 32);
    }
    fold(r, carry);
}

static void square(number r, const number a)
{
    multiply(r, a, a);
}

static void square_times(number r, uint32_t times)
{
    for (uint32_t i = 0u; i < times; i++) {
        square(r, r);
    }
}

/* z^(2^250 - 1), and z^11 beside it: what both powers below begin with. r is not z. */
static void power_250(number r, number eleventh, const number z)
{
    number ten, twenty;
    square(r, z); /* 2 */
    copy(ten, r);
    square_times(ten, 2u);           /* 8 */
    multiply(ten, ten, z);           /* 9 */
    multiply(eleventh, ten, r);      /* 11 */
    square(r, eleventh);             /* 22 */
    multiply(r, r, ten);             /* 2^5 - 1 */
    copy(ten, r);
    square_times(ten, 5u);
    multiply(ten, ten, r);           /* 2^10 - 1 */
    copy(twenty, ten);
    square_times(twenty, 10u);
    multiply(twenty, twenty, ten);   /* 2^20 - 1 */
    copy(r, twenty);
    square_times(r, 20u);
    multiply(r, r, twenty);          /* 2^40 - 1 */
    square_times(r, 10u);
    multiply(ten, r, ten);           /* 2^50 - 1 */
    copy(twenty, ten);
    square_times(twenty, 50u);
    multiply(twenty, twenty, ten);   /* 2^100 - 1 */
    copy(r, twenty);
    square_times(r, 100u);
    multiply(r, r, twenty);          /* 2^200 - 1 */
    square_times(r, 50u);
    multiply(r, r, ten);             /* 2^250 - 1 */
}

/* z^(p - 2). */
static void invert(number r, const number z)
{
    number eleventh;
    power_250(r, eleventh, z);
    square_times(r, 5u);
    multiply(r, r, eleventh);
}

/* z^((p - 5) / 8). */
static void power_root(number r, const number z)
{
    number eleventh;
    power_250(r, eleventh, z);
    square_times(r, 2u);
    multiply(r, r, z);
}

/* The least number that stands for the same element: below p. */
static void reduce(number a)
{
    static const number prime = {0xffffffedu, 0xffffffffu, 0xffffffffu, 0xffffffffu,
                                 0xffffffffu, 0xffffffffu, 0xffffffffu, 0x7fffffffu};
    number less;
    /* Below 2^256 are at most two whole p. */
    for (uint32_t i = 0u; i < 2u; i++) {
        if (subtract_words(less, a, prime) == 0u) {
            copy(a, less);
        }
    }
}

static int equal(const number a, const number b)
{
    number difference;
    subtract(difference, a, b);
    reduce(difference);
    return is_same(difference, ZERO);
}

static void load(number r, const uint8_t *from)
{
    for (uint32_t i = 0u; i < WORDS; i++) {
        r[i] = (uint32_t)from[4u * i] | ((uint32_t)from[(4u * i) + 1u] << 8)
               | ((uint32_t)from[(4u * i) + 2u] << 16) | ((uint32_t)from[(4u * i) + 3u] << 24);
    }
}

static void store(uint8_t *to, const number a)
{
    for (uint32_t i = 0u; i < (4u * WORDS); i++) {
        to[i] = (uint8_t)(a[i / 4u] >> (8u * (i % 4u)));
    }
}

#endif
