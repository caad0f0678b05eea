/* Depthwise convolutions for cores with Helium (MVE); the inner loops are with the constants. */
#ifndef FIRNLINE_MVE_DEPTHWISE_H
#define FIRNLINE_MVE_DEPTHWISE_H

#include "firnline_mve.h"

/* A run of places. The order of the members is known to the assembly. */
typedef struct {
    const uint32_t *stream; /* biases, weights and multipliers, in the order of their use */
    int32_t places;
    int32_t x_step;   /* from a window to the next one */
    int32_t y_turn;   /* from where blocks of 16 channels end to the next place's results */
    int32_t tap_step; /* from a tap to the next one across */
    int32_t row_step; /* from the last tap of a row to the first of the next row */
    int32_t shift;    /* 32 - shift of the requantisation: to the right is negative */
    int32_t zero;     /* zero point of the results */
    const int8_t *x;
    int8_t *y;
    int32_t channels;
} firnline_mve_taps;

FIRNLINE_PLACED(firnline_mve_taps_places, (offsetof(firnline_mve_taps, tap_step) == 16u)
                                              && (offsetof(firnline_mve_taps, channels) == 40u));

typedef void (*firnline_mve_taps_kernel)(const firnline_mve_taps *run);

/* Along every row: windows that are whole where they lie, the others put together one by one. */
FIRNLINE_KERNEL void firnline_mve_depthwise(const firnline_mve_layer *layer,
                                            firnline_mve_taps_kernel kernel, const int8_t *x,
                                            int8_t *y, void *scratch)
{
    const firnline_window *window = &layer->window;
    const int32_t channels = window->channels;
    const int32_t across = window->dilation_x * channels;
    const int32_t down = window->dilation_y * window->width * channels;
    firnline_mve_taps run;
    run.stream = layer->stream;
    run.x_step = window->stride_x * channels;
    run.y_turn = channels - ((channels + 15) & ~15);
    run.shift = layer->shift;
    run.zero = layer->zero;
    run.channels = channels;
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        const int32_t whole = ((rows.to - rows.from) == window->kernel_height) ? 1 : 0;
        int32_t out_x = 0;
        while (out_x < window->out_width) {
            run.y = &y[((out_y * window->out_width) + out_x) * channels];
            if ((whole != 0) && (out_x >= layer->direct_from) && (out_x < layer->direct_to)) {
                const int32_t column = (out_x * window->stride_x) - window->pad_left;
                run.x = &x[((rows.origin * window->width) + column) * channels];
                run.places = layer->direct_to - out_x;
                run.tap_step = across;
                run.row_step = down - ((window->kernel_width - 1) * across);
            } else {
                firnline_mve_gather(layer, x, &rows, out_x, scratch);
                run.x = scratch;
                run.places = 1;
                run.tap_step = channels;
                run.row_step = channels;
            }
            kernel(&run);
            out_x += run.places;
        }
    }
}

#endif
