/* Along the last axis, from the first element to the last: sum, mean, greatest, softmax. */
#ifndef FIRNLINE_FLOAT_REDUCE_H
#define FIRNLINE_FLOAT_REDUCE_H

#include "firnline_divide.h"
#include "firnline_float_math.h"

FIRNLINE_INLINE float firnline_sum(uint32_t width, const float *x)
{
    float sum = 0.0f;
    for (uint32_t i = 0u; i < width; i++) {
        sum = sum + x[i];
    }
    return sum;
}

FIRNLINE_INLINE float firnline_greatest(uint32_t width, const float *x)
{
    float greatest = x[0];
    for (uint32_t i = 1u; i < width; i++) {
        greatest = (x[i] > greatest) ? x[i] : greatest;
    }
    return greatest;
}

/* y may be x in all of these. */

FIRNLINE_KERNEL void firnline_reduce_sum(uint32_t rows, uint32_t width, const float *x, float *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        y[row] = firnline_sum(width, &x[row * width]);
    }
}

FIRNLINE_KERNEL void firnline_reduce_mean(uint32_t rows, uint32_t width, const float *x, float *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        y[row] = firnline_quotient(firnline_sum(width, &x[row * width]), (float)width);
    }
}

FIRNLINE_KERNEL void firnline_reduce_max(uint32_t rows, uint32_t width, const float *x, float *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        y[row] = firnline_greatest(width, &x[row * width]);
    }
}

FIRNLINE_KERNEL void firnline_float_softmax(uint32_t rows, uint32_t width, const float *x, float *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        const float greatest = firnline_greatest(width, x);
        float sum;
        for (uint32_t i = 0u; i < width; i++) {
            y[i] = firnline_exp(x[i] - greatest);
        }
        sum = firnline_sum(width, y);
        for (uint32_t i = 0u; i < width; i++) {
            y[i] = firnline_quotient(y[i], sum);
        }
        x = &x[width];
        y = &y[width];
    }
}

#endif
