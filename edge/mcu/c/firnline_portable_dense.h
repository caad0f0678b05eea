/*
 * Dense layer: acc[n] = bias[n] + sum over k of weights[n][k] * x[k], then requantised.
 *
 * The zero point of x is folded into the bias. Four rows go together, so that every x is read
 * once for four products.
 */
#ifndef FIRNLINE_PORTABLE_DENSE_H
#define FIRNLINE_PORTABLE_DENSE_H

#include "firnline_requant.h"

typedef struct {
    const int8_t *weights; /* [channels][columns] */
    const int32_t *bias;   /* [channels] */
    uint32_t rows;         /* inputs of the layer, one after another */
    uint32_t columns;
    uint32_t channels;
} firnline_dense;

FIRNLINE_KERNEL void firnline_dense_dot4(const int8_t *weights, uint32_t columns, const int8_t *x,
                                         int32_t acc[4])
{
    const int8_t *const w0 = weights;
    const int8_t *const w1 = &w0[columns];
    const int8_t *const w2 = &w1[columns];
    const int8_t *const w3 = &w2[columns];
    int32_t a0 = acc[0];
    int32_t a1 = acc[1];
    int32_t a2 = acc[2];
    int32_t a3 = acc[3];
    for (uint32_t k = 0u; k < columns; k++) {
        const int32_t value = x[k];
        a0 += value * w0[k];
        a1 += value * w1[k];
        a2 += value * w2[k];
        a3 += value * w3[k];
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

FIRNLINE_KERNEL int32_t firnline_dense_dot(const int8_t *weights, uint32_t columns, const int8_t *x,
                                           int32_t acc)
{
    for (uint32_t k = 0u; k < columns; k++) {
        acc += (int32_t)weights[k] * x[k];
    }
    return acc;
}

FIRNLINE_KERNEL void firnline_dense_int8(const firnline_dense *layer, const firnline_requant *how,
                                         const int8_t *x, int8_t *y)
{
    for (uint32_t row = 0u; row < layer->rows; row++) {
        uint32_t n = 0u;
        for (; (n + 4u) <= layer->channels; n += 4u) {
            int32_t acc[4] = {layer->bias[n], layer->bias[n + 1u], layer->bias[n + 2u],
                              layer->bias[n + 3u]};
            firnline_dense_dot4(&layer->weights[n * layer->columns], layer->columns, x, acc);
            for (uint32_t i = 0u; i < 4u; i++) {
                y[n + i] = firnline_requantise(how, acc[i], n + i);
            }
        }
        for (; n < layer->channels; n++) {
            const int32_t acc = firnline_dense_dot(&layer->weights[n * layer->columns],
                                                   layer->columns, x, layer->bias[n]);
            y[n] = firnline_requantise(how, acc, n);
        }
        x = &x[layer->columns];
        y = &y[layer->channels];
    }
}

/* The result stays float: float(acc) * scale[n]. */
FIRNLINE_KERNEL void firnline_dense_float(const firnline_dense *layer, const float *scale,
                                          const int8_t *x, float *y)
{
    for (uint32_t row = 0u; row < layer->rows; row++) {
        for (uint32_t n = 0u; n < layer->channels; n++) {
            const int32_t acc = firnline_dense_dot(&layer->weights[n * layer->columns],
                                                   layer->columns, x, layer->bias[n]);
            y[n] = (float)acc * scale[n];
        }
        x = &x[layer->columns];
        y = &y[layer->channels];
    }
}

#endif
