/*
 * exp, sigmoid, tanh and sqrt, in binary32 operations taken one by one.
 *
 * No mathematics library gives the same bits as the next one; these steps do, on every core. Their
 * constants are in firnline_float_constants.h. exp is within 0.8 units in the last place, tanh
 * within 1.4, sigmoid within 1.9; sqrt is correctly rounded.
 */
#ifndef FIRNLINE_FLOAT_MATH_H
#define FIRNLINE_FLOAT_MATH_H

#include "firnline_base.h"
#include "firnline_divide.h"
#include "firnline_float_constants.h"

FIRNLINE_INLINE float firnline_horner(const float *coefficients, uint32_t count, float x)
{
    float made = coefficients[count - 1u];
    for (uint32_t i = count - 1u; i > 0u; i--) {
        made = (made * x) + coefficients[i - 1u];
    }
    return made;
}

/* 2^exponent, for the exponents of normal numbers. */
FIRNLINE_INLINE float firnline_power_of_two(int32_t exponent)
{
    return firnline_from_bits((uint32_t)(exponent + 127) << 23);
}

FIRNLINE_INLINE float firnline_abs(float x)
{
    return firnline_from_bits(firnline_bits(x) & 0x7FFFFFFFu);
}

/* x = n ln 2 + r with ln 2 in two parts; exp(r) by a polynomial; then times 2^n in two halves, so
 * that only the last product can overflow or become subnormal. */
FIRNLINE_KERNEL float firnline_exp(float x)
{
    static const float polynomial[] = FIRNLINE_EXP_POLYNOMIAL;
    float result;
    if (x > FIRNLINE_EXP_GREATEST) {
        result = FIRNLINE_INFINITY;
    } else if (x < FIRNLINE_EXP_LEAST) {
        result = 0.0f;
    } else if (x != x) {
        result = x;
    } else {
        const float shifted = (x * FIRNLINE_LOG2E) + FIRNLINE_ROUND;
        const float n = shifted - FIRNLINE_ROUND;
        const float high = x - (n * FIRNLINE_LN2_HIGH);
        const float low = n * FIRNLINE_LN2_LOW;
        const float r = high - low;
        const float top = high + 1.0f;
        const float rest = high - (top - 1.0f);
        const float p =
            firnline_horner(polynomial, (uint32_t)(sizeof(polynomial) / sizeof(polynomial[0])), r);
        const float y = top + (rest + ((p * (r * r)) - low));
        const int32_t whole = (int32_t)n;
        const int32_t half = whole >> 1;
        result = (y * firnline_power_of_two(half)) * firnline_power_of_two(whole - half);
    }
    return result;
}

FIRNLINE_KERNEL float firnline_sigmoid(float x)
{
    float result = x;
    if (x == x) {
        const float e = firnline_exp(-firnline_abs(x));
        const float below = 1.0f + e;
        const float rest = e - (below - 1.0f);
        const float y = firnline_quotient((x < 0.0f) ? e : 1.0f, below);
        const float over = (x < 0.0f) ? (1.0f - y) : y;
        result = y - (y * (rest * over));
    }
    return result;
}

FIRNLINE_KERNEL float firnline_tanh(float x)
{
    static const float polynomial[] = FIRNLINE_TANH_POLYNOMIAL;
    const float size = firnline_abs(x);
    float result = x;
    if (size < FIRNLINE_TANH_CURVES) {
        const float z = x * x;
        const float p =
            firnline_horner(polynomial, (uint32_t)(sizeof(polynomial) / sizeof(polynomial[0])), z);
        result = ((p * z) * x) + x;
    } else if (x == x) {
        float large = 1.0f;
        if (size < FIRNLINE_TANH_FLAT) {
            large = 1.0f - (2.0f / (firnline_exp(size + size) + 1.0f));
        }
        result = (x < 0.0f) ? -large : large;
    }
    return result;
}

/* The root of the significand, one bit a step, then rounded: it is never half way. */
FIRNLINE_INLINE float firnline_sqrt_by_bits(float x)
{
    uint32_t bits = firnline_bits(x);
    int32_t exponent = (int32_t)(bits >> 23);
    uint32_t significand = bits & 0x007FFFFFu;
    uint32_t root = 0u;
    uint32_t rest = 0u;
    if (exponent == 0) { /* subnormal */
        exponent = 1;
        while (significand < 0x00800000u) {
            significand <<= 1;
            exponent--;
        }
    } else {
        significand |= 0x00800000u;
    }
    exponent -= 127;
    /* 24 bits of root want 48 of radicand: the significand, even exponent, zeros below. */
    significand <<= ((uint32_t)exponent & 1u) + 7u;
    for (uint32_t step = 0u; step < 25u; step++) {
        rest = (rest << 2) | (significand >> 30);
        significand <<= 2;
        root <<= 1;
        if (rest >= ((root << 1) | 1u)) {
            rest -= (root << 1) | 1u;
            root |= 1u;
        }
    }
    root = (root >> 1) + (root & 1u);
    return firnline_from_bits(root + ((uint32_t)((exponent >> 1) + 126) << 23));
}

FIRNLINE_KERNEL float firnline_sqrt(float x)
{
    float result = x; /* zeros, infinity and NaN are their own roots */
    if (x < 0.0f) {
        result = FIRNLINE_NAN;
    } else if ((x > 0.0f) && (x < FIRNLINE_INFINITY)) {
#if defined(__GNUC__) && defined(__ARM_FP) && ((__ARM_FP & 4) != 0) && !defined(__aarch64__)
        __asm__("vsqrt.f32 %0, %1" : "=t"(result) : "t"(x));
#else
        result = firnline_sqrt_by_bits(x);
#endif
    }
    return result;
}

#endif
