/*
 * Depthwise convolution: every channel of the image by itself, into one or more of the result.
 *
 * As portable_conv.h with as many groups as channels; the weights lie [kernel_height][kernel_width]
 * [out_channels], so that neighbouring channels read neighbouring bytes.
 */
#ifndef PORTABLE_DEPTHWISE_H
#define PORTABLE_DEPTHWISE_H

#include "firnline_requant.h"
#include "firnline_window.h"

typedef struct {
    const int8_t *weights; /* [kernel_height][kernel_width][out_channels] */
    const int32_t *bias;   /* [out_channels] */
    int32_t out_channels;
    int32_t times; /* out_channels / channels */
    int32_t zero;  /* of the input */
    firnline_window window;
} firnline_depthwise;

FIRNLINE_KERNEL int32_t firnline_depthwise_place(const firnline_depthwise *layer, const int8_t *x,
                                                 const firnline_span *rows,
                                                 const firnline_span *columns, int32_t out)
{
    const firnline_window *const window = &layer->window;
    const int32_t step = window->dilation_x * window->channels;
    int32_t acc = layer->bias[out];
    for (int32_t ky = rows->from; ky < rows->to; ky++) {
        const int32_t tap = (ky * window->kernel_width) + columns->from;
        const int8_t *weight = &layer->weights[(tap * layer->out_channels) + out];
        int32_t place = firnline_place(window, rows, ky, columns, columns->from);
        for (int32_t kx = columns->from; kx < columns->to; kx++) {
            acc += ((int32_t)x[place] - layer->zero) * *weight;
            place += step;
            weight = &weight[layer->out_channels];
        }
    }
    return acc;
}

FIRNLINE_KERNEL void firnline_depthwise_int8(const firnline_depthwise *layer,
                                             const firnline_requant *how, const int8_t *x, int8_t *y)
{
    const firnline_window *const window = &layer->window;
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            int32_t out = 0;
            for (int32_t channel = 0; channel < window->channels; channel++) {
                for (int32_t i = 0; i < layer->times; i++) {
                    const int32_t acc =
                        firnline_depthwise_place(layer, &x[channel], &rows, &columns, out);
                    *y = firnline_requantise(how, acc, (uint32_t)out);
                    y++;
                    out++;
                }
            }
        }
    }
}

#endif
