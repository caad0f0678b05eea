/*
 * Convolutions of one group on cores without SIMD: the window of every place is gathered, and the
 * rest is a dense layer's.
 */
#ifndef FIRNLINE_SMALL_CONV_H
#define FIRNLINE_SMALL_CONV_H

#include "firnline_window.h"
#include "firnline_small.h"

/* `count` times the padding's value; returns their sum. */
FIRNLINE_KERNEL uint32_t firnline_small_fill(uint8_t *to, uint32_t value, uint32_t count)
{
    for (uint32_t i = 0u; i < count; i++) {
        to[i] = (uint8_t)value;
    }
    return count * value;
}

/* A window at shifted[0..], each element plus 128; `padding` is the zero point plus 128. */
FIRNLINE_KERNEL uint32_t firnline_small_gather(const firnline_window *window,
                                               const firnline_span *rows,
                                               const firnline_span *columns, uint32_t padding,
                                               const int8_t *x, uint8_t *shifted)
{
    const uint32_t depth = (uint32_t)window->channels;
    const uint32_t across = (uint32_t)window->kernel_width * depth;
    const uint32_t before = (uint32_t)columns->from * depth;
    const uint32_t inside = (uint32_t)(columns->to - columns->from) * depth;
    const uint32_t run = (window->dilation_x == 1) ? inside : depth;
    uint32_t total = 0u;
    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        uint32_t done = 0u;
        if ((ky >= rows->from) && (ky < rows->to)) {
            total += firnline_small_fill(shifted, padding, before);
            for (int32_t kx = columns->from; done < inside; kx++) {
                const int32_t place = firnline_place(window, rows, ky, columns, kx);
                total += firnline_small_shift(&x[place], &shifted[before + done], run);
                done += run;
            }
            done += before;
        }
        total += firnline_small_fill(&shifted[done], padding, across - done);
        shifted = &shifted[across];
    }
    return total;
}

FIRNLINE_INLINE void firnline_small_windows(const firnline_small *layer,
                                            const firnline_requant *how,
                                            const firnline_window *window, int32_t zero,
                                            const int8_t *x, int8_t *y, uint8_t *shifted)
{
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            const uint32_t total = firnline_small_gather(window, &rows, &columns,
                                                         (uint32_t)(zero + 128), x, shifted);
            firnline_small_place(layer, how, NULL, shifted, total, y, NULL);
            y = &y[layer->channels];
        }
    }
}

FIRNLINE_KERNEL void firnline_small_conv(const firnline_small *layer, const firnline_window *window,
                                         int32_t zero, const int8_t *x, int8_t *y, uint8_t *shifted)
{
    firnline_small_windows(layer, NULL, window, zero, x, y, shifted);
}

FIRNLINE_KERNEL void firnline_small_conv_by(const firnline_small *layer,
                                            const firnline_requant *how,
                                            const firnline_window *window, int32_t zero,
                                            const int8_t *x, int8_t *y, uint8_t *shifted)
{
    firnline_small_windows(layer, how, window, zero, x, y, shifted);
}

#endif
