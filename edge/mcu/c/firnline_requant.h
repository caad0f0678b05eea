/*
 * From an int32 accumulator to int8: clip(rint(float(acc) * scale) + zero, low, high).
 *
 * Where the scale has a proven integer form, ((acc * multiplier + 2^(shift - 1)) >> shift) is that
 * same rint for every accumulator the layer can reach, so no float is touched.
 * FIRNLINE_FLOAT_REQUANT is 1 in a program that has a layer without one: there the definition
 * itself is computed.
 */
#ifndef FIRNLINE_REQUANT_H
#define FIRNLINE_REQUANT_H

#include "firnline_base.h"

#ifndef FIRNLINE_FLOAT_REQUANT
#define FIRNLINE_FLOAT_REQUANT 1
#endif

typedef struct {
    const int32_t *multiplier; /* in [1, 2^31 - 1]; NULL when scale is used */
    const uint8_t *shift;      /* in [33, 62] */
    const float *scale;        /* NULL when multiplier is used */
    uint32_t factor_step;      /* 1: a multiplier or scale for every channel, 0: one for all */
    uint32_t shift_step;       /* likewise */
    int32_t zero;
    int32_t low;
    int32_t high;
} firnline_requant;

/* With shift >= 33 the low word of the product cannot change the result: the high one is enough. */
FIRNLINE_INLINE int32_t firnline_scale_exact(int32_t acc, int32_t multiplier, uint32_t shift)
{
    const int32_t top = (int32_t)(((int64_t)acc * multiplier) >> 32);
    return (top + (int32_t)((uint32_t)1u << (shift - 33u))) >> (shift - 32u);
}

FIRNLINE_INLINE int8_t firnline_requantise(const firnline_requant *how, int32_t acc,
                                           uint32_t channel)
{
    int32_t result;
#if FIRNLINE_FLOAT_REQUANT
    if (how->multiplier == NULL) {
        const float scaled = (float)acc * how->scale[channel * how->factor_step];
        return firnline_to_int8(scaled, how->zero, how->low, how->high);
    }
#endif
    result = firnline_scale_exact(acc, how->multiplier[channel * how->factor_step],
                                  how->shift[channel * how->shift_step])
             + how->zero;
    result = (result > how->low) ? result : how->low;
    result = (result < how->high) ? result : how->high;
    return (int8_t)result;
}

#endif
