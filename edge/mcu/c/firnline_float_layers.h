/*
 * Layers kept in float. Sums start from 0 and go from the first element to the last, a product and
 * a sum at a time; the bias comes last.
 */
#ifndef FIRNLINE_FLOAT_LAYERS_H
#define FIRNLINE_FLOAT_LAYERS_H

#include "firnline_divide.h"
#include "firnline_window.h"

FIRNLINE_KERNEL void firnline_float_dense(const float *weights, const float *bias, uint32_t rows,
                                          uint32_t columns, uint32_t channels, const float *x,
                                          float *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        const float *weight = weights;
        for (uint32_t n = 0u; n < channels; n++) {
            float sum = 0.0f;
            for (uint32_t k = 0u; k < columns; k++) {
                sum = sum + (weight[k] * x[k]);
            }
            y[n] = sum + bias[n];
            weight = &weight[columns];
        }
        x = &x[columns];
        y = &y[channels];
    }
}

typedef struct {
    const float *weights; /* [out_channels][kernel_height][kernel_width][channels / groups] */
    const float *bias;
    int32_t out_channels;
    int32_t groups;
    firnline_window window;
} firnline_float_conv;

/* What lies in the padding is a zero that a sum may leave out. */
FIRNLINE_KERNEL float firnline_float_conv_place(const firnline_float_conv *layer, const float *x,
                                                const firnline_span *rows,
                                                const firnline_span *columns, int32_t out)
{
    const firnline_window *const window = &layer->window;
    const int32_t depth = window->channels / layer->groups;
    const int32_t begin = (out / (layer->out_channels / layer->groups)) * depth;
    float sum = 0.0f;
    for (int32_t ky = rows->from; ky < rows->to; ky++) {
        for (int32_t kx = columns->from; kx < columns->to; kx++) {
            const int32_t tap = (((out * window->kernel_height) + ky) * window->kernel_width) + kx;
            const float *const weight = &layer->weights[tap * depth];
            const float *const value =
                &x[firnline_place(window, rows, ky, columns, kx) + begin];
            for (int32_t c = 0; c < depth; c++) {
                sum = sum + (weight[c] * value[c]);
            }
        }
    }
    return sum + layer->bias[out];
}

FIRNLINE_KERNEL void firnline_float_conv_run(const firnline_float_conv *layer, const float *x,
                                             float *y)
{
    const firnline_window *const window = &layer->window;
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            for (int32_t out = 0; out < layer->out_channels; out++) {
                *y = firnline_float_conv_place(layer, x, &rows, &columns, out);
                y++;
            }
        }
    }
}

FIRNLINE_KERNEL void firnline_float_pool_max(const firnline_window *window, const float *x,
                                             float *y)
{
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            for (int32_t channel = 0; channel < window->channels; channel++) {
                float greatest = -FIRNLINE_INFINITY;
                for (int32_t ky = rows.from; ky < rows.to; ky++) {
                    for (int32_t kx = columns.from; kx < columns.to; kx++) {
                        const int32_t place = firnline_place(window, &rows, ky, &columns, kx);
                        const float value = x[place + channel];
                        greatest = ((value > greatest) || (value != value)) ? value : greatest;
                    }
                }
                *y = greatest;
                y++;
            }
        }
    }
}

FIRNLINE_KERNEL void firnline_float_pool_mean(const firnline_window *window, int32_t count_pad,
                                              const float *x, float *y)
{
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            const int32_t inside = (rows.to - rows.from) * (columns.to - columns.from);
            const int32_t whole = window->kernel_height * window->kernel_width;
            const int32_t count = (count_pad != 0) ? whole : inside;
            for (int32_t channel = 0; channel < window->channels; channel++) {
                float sum = 0.0f;
                for (int32_t ky = rows.from; ky < rows.to; ky++) {
                    for (int32_t kx = columns.from; kx < columns.to; kx++) {
                        sum = sum + x[firnline_place(window, &rows, ky, &columns, kx) + channel];
                    }
                }
                *y = firnline_quotient(sum, (float)count);
                y++;
            }
        }
    }
}

#endif
