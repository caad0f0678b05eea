/*
 * Convolution of an int8 image, any stride, dilation, padding and groups.
 *
 * acc[o] = bias[o] + sum over the window of weights[o][ky][kx][c] * (x - zero); what lies in the
 * padding counts as zero and is left out. Four output channels go together and share every x.
 */
#ifndef FIRNLINE_PORTABLE_CONV_H
#define FIRNLINE_PORTABLE_CONV_H

#include "firnline_requant.h"
#include "firnline_window.h"

typedef struct {
    const int8_t *weights; /* [out_channels][kernel_height][kernel_width][channels / groups] */
    const int32_t *bias;   /* [out_channels] */
    int32_t out_channels;
    int32_t groups;
    int32_t zero; /* of the input */
    firnline_window window;
} firnline_conv;

/* Up to four channels of one place; `stride` is from one channel's weights to the next one's. */
FIRNLINE_INLINE void firnline_conv_run(const int8_t *weights, int32_t stride, int32_t together,
                                       const int8_t *x, int32_t zero, int32_t length, int32_t *acc)
{
    if (together == 4) {
        int32_t a0 = acc[0];
        int32_t a1 = acc[1];
        int32_t a2 = acc[2];
        int32_t a3 = acc[3];
        for (int32_t k = 0; k < length; k++) {
            const int32_t value = (int32_t)x[k] - zero;
            a0 += value * weights[k];
            a1 += value * weights[k + stride];
            a2 += value * weights[k + (2 * stride)];
            a3 += value * weights[k + (3 * stride)];
        }
        acc[0] = a0;
        acc[1] = a1;
        acc[2] = a2;
        acc[3] = a3;
    } else {
        for (int32_t i = 0; i < together; i++) {
            int32_t sum = acc[i];
            for (int32_t k = 0; k < length; k++) {
                sum += ((int32_t)x[k] - zero) * weights[k + (i * stride)];
            }
            acc[i] = sum;
        }
    }
}

/* The window of one place for `together` output channels from `first` on, all of one group. */
FIRNLINE_KERNEL void firnline_conv_place(const firnline_conv *layer, const int8_t *x,
                                         const firnline_span *rows, const firnline_span *columns,
                                         int32_t first, int32_t together, int32_t *acc)
{
    const firnline_window *const window = &layer->window;
    const int32_t depth = window->channels / layer->groups;
    const int32_t stride = window->kernel_height * window->kernel_width * depth;
    const int32_t begin = (first / (layer->out_channels / layer->groups)) * depth;
    /* Without groups and dilation, the taps of a row lie side by side: one run. */
    const int32_t joined = ((layer->groups == 1) && (window->dilation_x == 1)) ? 1 : 0;
    const int32_t taps = columns->to - columns->from;
    const int32_t runs = (joined != 0) ? ((taps > 0) ? 1 : 0) : taps;
    const int32_t length = (joined != 0) ? (taps * depth) : depth;
    for (int32_t ky = rows->from; ky < rows->to; ky++) {
        for (int32_t run = 0; run < runs; run++) {
            const int32_t kx = columns->from + run;
            const int32_t tap = ((ky * window->kernel_width) + kx) * depth;
            firnline_conv_run(&layer->weights[(first * stride) + tap], stride, together,
                              &x[firnline_place(window, rows, ky, columns, kx) + begin],
                              layer->zero, length, acc);
        }
    }
}

FIRNLINE_KERNEL void firnline_conv_int8(const firnline_conv *layer, const firnline_requant *how,
                                        const int8_t *x, int8_t *y)
{
    const firnline_window *const window = &layer->window;
    const int32_t outs = layer->out_channels / layer->groups;
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            int32_t o = 0;
            while (o < layer->out_channels) {
                const int32_t left = outs - (o % outs);
                const int32_t together = (left < 4) ? left : 4;
                int32_t acc[4] = {0, 0, 0, 0};
                for (int32_t i = 0; i < together; i++) {
                    acc[i] = layer->bias[o + i];
                }
                firnline_conv_place(layer, x, &rows, &columns, o, together, acc);
                for (int32_t i = 0; i < together; i++) {
                    y[i] = firnline_requantise(how, acc[i], (uint32_t)(o + i));
                }
                y = &y[together];
                o += together;
            }
        }
    }
}

#endif
