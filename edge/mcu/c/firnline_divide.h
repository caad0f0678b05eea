/* Division in binary32, rounded to nearest even down to the smallest subnormal. */
#ifndef FIRNLINE_DIVIDE_H
#define FIRNLINE_DIVIDE_H

#include "firnline_base.h"

#if (defined(__ARM_FP) && ((__ARM_FP & 4) != 0)) || defined(__riscv_flen) ||                       \
    defined(__x86_64__) || defined(__i386__)
#define FIRNLINE_DIVIDES 1
#else
#define FIRNLINE_DIVIDES 0
#endif

/* |a / b| for a quotient below the normal numbers, both given by their bits: counted in the
 * smallest subnormal, one bit a step, then rounded. a is not 0, b is normal. */
FIRNLINE_KERNEL uint32_t firnline_small_quotient(uint32_t a, uint32_t b)
{
    const int32_t a_exponent = (int32_t)(a >> 23);
    const int32_t exponent = ((a_exponent > 0) ? a_exponent : 1) - (int32_t)(b >> 23) + 149;
    const uint32_t dividend = (a_exponent > 0) ? ((a & 0x007FFFFFu) | 0x00800000u) : a;
    uint32_t divisor = (b & 0x007FFFFFu) | 0x00800000u;
    uint32_t quotient = 0u;
    uint32_t rest = 0u;
    if (exponent >= -1) {
        for (int32_t step = 23; step >= -exponent; step--) {
            rest <<= 1;
            rest |= (step >= 0) ? ((dividend >> (uint32_t)step) & 1u) : 0u;
            quotient <<= 1;
            if (rest >= divisor) {
                rest -= divisor;
                quotient |= 1u;
            }
        }
        if (exponent == -1) { /* less than the smallest: all of the dividend is left over */
            rest = dividend;
            quotient = 0u;
            divisor <<= 1;
        }
        rest <<= 1;
        if ((rest > divisor) || ((rest == divisor) && ((quotient & 1u) != 0u))) {
            quotient++;
        }
    }
    return quotient;
}

/* a / b. Without a unit for it the compiler's library divides, and some of them (LLVM's) cut off
 * the last bits of a subnormal quotient instead of rounding. */
FIRNLINE_INLINE float firnline_quotient(float a, float b)
{
    float result = a / b;
#if !FIRNLINE_DIVIDES
    const uint32_t size = firnline_bits(result) & 0x7FFFFFFFu;
    const uint32_t from = firnline_bits(a) & 0x7FFFFFFFu;
    const uint32_t by = firnline_bits(b) & 0x7FFFFFFFu;
    if ((size < 0x00800000u) && (from != 0u) && (by < 0x7F800000u)) {
        const uint32_t sign = (firnline_bits(a) ^ firnline_bits(b)) & 0x80000000u;
        result = firnline_from_bits(sign | firnline_small_quotient(from, by));
    }
#endif
    return result;
}

#endif
