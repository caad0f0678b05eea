/*
 * Softmax of int8 rows, and the place of the greatest element.
 *
 * e[i] = table[255 + x[i] - greatest]; y[i] = rint((e[i] * levels) / sum) + zero, clipped, in
 * float from the first element to the last.
 */
#ifndef FIRNLINE_PORTABLE_SOFTMAX_H
#define FIRNLINE_PORTABLE_SOFTMAX_H

#include "firnline_base.h"

/* y may be x. */
FIRNLINE_KERNEL void firnline_softmax_int8(const float *table, float levels, int32_t zero,
                                           uint32_t rows, uint32_t width, const int8_t *x,
                                           int8_t *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        int32_t greatest = x[0];
        float sum = 0.0f;
        for (uint32_t i = 1u; i < width; i++) {
            greatest = (x[i] > greatest) ? x[i] : greatest;
        }
        for (uint32_t i = 0u; i < width; i++) {
            sum = sum + table[255 + (int32_t)x[i] - greatest];
        }
        for (uint32_t i = 0u; i < width; i++) {
            const float part = table[255 + (int32_t)x[i] - greatest] * levels;
            y[i] = firnline_to_int8(part / sum, zero, -128, 127);
        }
        x = &x[width];
        y = &y[width];
    }
}

/* Of several greatest, the first. */
FIRNLINE_KERNEL void firnline_argmax_int8(uint32_t rows, uint32_t width, const int8_t *x,
                                          int32_t *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        uint32_t best = 0u;
        for (uint32_t i = 1u; i < width; i++) {
            best = (x[i] > x[best]) ? i : best;
        }
        y[row] = (int32_t)best;
        x = &x[width];
    }
}

FIRNLINE_KERNEL void firnline_argmax_float(uint32_t rows, uint32_t width, const float *x,
                                           int32_t *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        uint32_t best = 0u;
        for (uint32_t i = 1u; i < width; i++) {
            best = (x[i] > x[best]) ? i : best;
        }
        y[row] = (int32_t)best;
        x = &x[width];
    }
}

#endif
