/*
 * Depthwise convolutions on cores without SIMD: four channels together, sums in registers.
 *
 * Every tap of a place is a pointer, found once for all channels; taps in the padding point at a
 * pixel of zero points. So the zero point is folded into the bias, and no channel asks for borders.
 */
#ifndef FIRNLINE_SMALL_DEPTHWISE_H
#define FIRNLINE_SMALL_DEPTHWISE_H

#include "firnline_window.h"
#include "firnline_small.h"

typedef struct {
    const int8_t *weights; /* [kernel_height][kernel_width][channels] */
    const int32_t *finish; /* [channels][2]: bias, the zero point folded in, and multiplier */
    int32_t add;           /* half a unit of the result plus the zero point */
    uint32_t shift;        /* of the product's upper word, after `add` */
    int32_t low;
    int32_t high;
    int32_t zero; /* of the input */
    firnline_window window;
} firnline_small_depthwise;

FIRNLINE_KERNEL void firnline_small_taps(const firnline_window *window, int32_t out_y,
                                         int32_t out_x, const int8_t *x, const int8_t *padding,
                                         const int8_t **taps)
{
    const firnline_span rows = firnline_rows(window, out_y);
    const firnline_span columns = firnline_columns(window, out_x);
    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        for (int32_t kx = 0; kx < window->kernel_width; kx++) {
            const int32_t inside = ((ky >= rows.from) && (ky < rows.to) && (kx >= columns.from)
                                    && (kx < columns.to))
                                       ? 1
                                       : 0;
            *taps = (inside != 0) ? &x[firnline_place(window, &rows, ky, &columns, kx)] : padding;
            taps++;
        }
    }
}

FIRNLINE_INLINE int8_t firnline_small_depthwise_result(const firnline_small_depthwise *layer,
                                                       int32_t channel, int32_t sum)
{
    const int32_t *const finish = &layer->finish[2 * channel];
    int32_t result = firnline_small_high(sum + finish[0], finish[1]) + layer->add;
    result >>= layer->shift;
    result = (result > layer->low) ? result : layer->low;
    return (int8_t)((result < layer->high) ? result : layer->high);
}

/* `together` channels, 4 or 1, from the one that `weights` points at. */
FIRNLINE_INLINE void firnline_small_depthwise_dot(const firnline_small_depthwise *layer,
                                                  const int8_t *const *taps,
                                                  const int8_t *const *end, int32_t channel,
                                                  int32_t together, int8_t *y)
{
    const int8_t *weights = &layer->weights[channel];
    int32_t sums[4] = {0, 0, 0, 0};
    do {
        const int8_t *const x = &(*taps)[channel];
        for (int32_t i = 0; i < together; i++) {
            sums[i] += (int32_t)x[i] * weights[i];
        }
        weights = &weights[layer->window.channels];
        taps++;
    } while (taps != end);
    for (int32_t i = 0; i < together; i++) {
        y[channel + i] = firnline_small_depthwise_result(layer, channel + i, sums[i]);
    }
}

/* `taps` and `padding` are working memory: a pointer a tap, and a byte a channel. */
FIRNLINE_KERNEL void firnline_small_depthwise_int8(const firnline_small_depthwise *layer,
                                                   const int8_t *x, int8_t *y, const int8_t **taps,
                                                   int8_t *padding)
{
    const firnline_window *const window = &layer->window;
    const int8_t *const *const end = &taps[window->kernel_height * window->kernel_width];
    const int32_t fours = window->channels - (window->channels % 4);
    for (int32_t i = 0; i < window->channels; i++) {
        padding[i] = (int8_t)layer->zero;
    }
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            firnline_small_taps(window, out_y, out_x, x, padding, taps);
            for (int32_t channel = 0; channel < fours; channel += 4) {
                firnline_small_depthwise_dot(layer, taps, end, channel, 4, y);
            }
            for (int32_t channel = fours; channel < window->channels; channel++) {
                firnline_small_depthwise_dot(layer, taps, end, channel, 1, y);
            }
            y = &y[window->channels];
        }
    }
}

#endif
