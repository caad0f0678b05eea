/* Element by element on int8: a table of 256 results, and the sum of two values. */
#ifndef FIRNLINE_PORTABLE_ELEMENTWISE_H
#define FIRNLINE_PORTABLE_ELEMENTWISE_H

#include "firnline_base.h"

/* y may be x. */
FIRNLINE_KERNEL void firnline_table(const int8_t *table, uint32_t length, const int8_t *x,
                                    int8_t *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = table[(int32_t)x[i] + 128];
    }
}

typedef struct {
    int32_t left;
    int32_t right;
    int32_t offset;
    uint32_t shift;
    int32_t low;
    int32_t high;
} firnline_add;

/* clip((a * left + b * right + offset) >> shift, low, high): the float sum below, in factors that
 * give the same for every pair of a and b. y may be a or b. */
FIRNLINE_KERNEL void firnline_add_int8(const firnline_add *how, uint32_t length, const int8_t *a,
                                       const int8_t *b, int8_t *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        int32_t sum = ((a[i] * how->left) + (b[i] * how->right) + how->offset) >> how->shift;
        sum = (sum > how->low) ? sum : how->low;
        y[i] = (int8_t)((sum < how->high) ? sum : how->high);
    }
}

typedef struct {
    float left;
    float right;
    float fixed;
    int32_t low;
    int32_t high;
} firnline_add_by_float;

/* As a fused multiply-add does: product and sum in double, rounded to float once. */
FIRNLINE_INLINE float firnline_fused(int8_t a, float factor, float addend)
{
    return (float)(((double)a * (double)factor) + (double)addend);
}

/* clip(rint(a * left + (b * right + fixed)), low, high); y may be a or b. */
FIRNLINE_KERNEL void firnline_add_int8_by_float(const firnline_add_by_float *how, uint32_t length,
                                                const int8_t *a, const int8_t *b, int8_t *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        const float right = firnline_fused(b[i], how->right, how->fixed);
        y[i] = firnline_to_int8(firnline_fused(a[i], how->left, right), 0, how->low, how->high);
    }
}

#endif
