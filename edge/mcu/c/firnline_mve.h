/*
 * Dense layers and convolutions for cores with Helium (MVE), such as the Cortex-M55.
 *
 * The inner loops are assembly, written out for the shape of every layer where the model's
 * constants are: see the functions firnline_mve_dense_* and firnline_mve_pairs_*. Here is what
 * leads to them: where the windows of a convolution lie, or how they are put together.
 *
 * A window of weights is padded with zeros to 16 bytes, so that what lies behind a window does
 * not matter; but it is read.
 */
#ifndef FIRNLINE_MVE_H
#define FIRNLINE_MVE_H

#include "firnline_base.h"
#include "firnline_window.h"

#if !defined(__ARM_FEATURE_MVE) || ((__ARM_FEATURE_MVE & 1) == 0)
#error "this core has no MVE: compile with -mcpu=cortex-m55, or generate C for another target"
#endif

/* A run of pairs of places. The order of the members is known to the assembly. */
typedef struct {
    const uint32_t *stream; /* biases, weights and multipliers, in the order of their use */
    const int8_t *first;    /* window of the first place of the next pair */
    const int8_t *second;   /* window of the second */
    int8_t *y;              /* results of the first place */
    int32_t lanes;          /* results of a pair */
    int32_t x_step;         /* from a pair's windows to the next one's */
    int32_t y_step;         /* from a pair's results to the next one's */
    int32_t pairs;
    int32_t shift;          /* 32 - shift of the requantisation: to the right is negative */
    int32_t zero;           /* zero point of the results */
    uint16_t offsets[8];    /* of the results of a block of rows from y */
} firnline_mve_run;

FIRNLINE_PLACED(firnline_mve_run_places, (offsetof(firnline_mve_run, x_step) == 20u)
                                             && (offsetof(firnline_mve_run, offsets) == 40u));

typedef void (*firnline_mve_kernel)(firnline_mve_run *run);

typedef struct {
    const uint32_t *stream;
    firnline_window window;
    int32_t outputs;     /* channels of the result */
    int32_t bytes;       /* of a window, a multiple of 16 */
    int32_t direct_from; /* places across, from and to, whose windows can be read in place */
    int32_t direct_to;
    int32_t fill;        /* zero point of the input: what padding holds */
    int32_t shift;
    int32_t zero;
} firnline_mve_layer;

FIRNLINE_INLINE void firnline_mve_copy(int8_t *to, const int8_t *from, int32_t bytes)
{
    __asm__ volatile("wlstp.8 lr, %[n], 2f\n"
                     "1:\n"
                     "vldrb.8 q0, [%[from]], #16\n"
                     "vstrb.8 q0, [%[to]], #16\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : [to] "+r"(to), [from] "+r"(from)
                     : [n] "r"(bytes)
                     : "q0", "lr", "memory");
}

FIRNLINE_INLINE void firnline_mve_fill(int8_t *to, int32_t value, int32_t bytes)
{
    __asm__ volatile("vdup.8 q0, %[value]\n"
                     "wlstp.8 lr, %[n], 2f\n"
                     "1:\n"
                     "vstrb.8 q0, [%[to]], #16\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : [to] "+r"(to)
                     : [n] "r"(bytes), [value] "r"(value)
                     : "q0", "lr", "memory");
}

/* Results that must stay within narrower bounds than int8's: a folded Relu6, for one. */
FIRNLINE_KERNEL void firnline_mve_clip(int8_t *y, int32_t bytes, int32_t low, int32_t high)
{
    __asm__ volatile("vdup.8 q1, %[low]\n"
                     "vdup.8 q2, %[high]\n"
                     "wlstp.8 lr, %[n], 2f\n"
                     "1:\n"
                     "vldrb.8 q0, [%[y]]\n"
                     "vmax.s8 q0, q0, q1\n"
                     "vmin.s8 q0, q0, q2\n"
                     "vstrb.8 q0, [%[y]], #16\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : [y] "+r"(y)
                     : [n] "r"(bytes), [low] "r"(low), [high] "r"(high)
                     : "q0", "q1", "q2", "lr", "memory");
}

/* A window that is whole: its rows lie in the image at even distances. */
FIRNLINE_KERNEL void firnline_mve_gather_whole(const firnline_window *window, const int8_t *from,
                                               int8_t *to)
{
    const int32_t bytes = window->kernel_width * window->channels;
    const int32_t step = window->dilation_y * window->width * window->channels;
    for (int32_t tap_y = window->kernel_height; tap_y > 0; tap_y--) {
        firnline_mve_copy(to, from, bytes);
        to = &to[bytes];
        from = &from[step];
    }
}

/* A window that is not: padding first, then what taps find in the image. */
FIRNLINE_KERNEL void firnline_mve_gather_part(const firnline_mve_layer *layer, const int8_t *x,
                                              const firnline_span *rows, int32_t out_x, int8_t *to)
{
    const firnline_window *window = &layer->window;
    const firnline_span columns = firnline_columns(window, out_x);
    firnline_mve_fill(to, layer->fill, layer->bytes);
    for (int32_t tap_y = rows->from; tap_y < rows->to; tap_y++) {
        for (int32_t tap_x = columns.from; tap_x < columns.to; tap_x++) {
            const int32_t place = firnline_place(window, rows, tap_y, &columns, tap_x);
            const int32_t tap = (tap_y * window->kernel_width) + tap_x;
            firnline_mve_copy(&to[tap * window->channels], &x[place], window->channels);
        }
    }
}

/* Put the window of one place together. */
FIRNLINE_INLINE void firnline_mve_gather(const firnline_mve_layer *layer, const int8_t *x,
                                         const firnline_span *rows, int32_t out_x, int8_t *to)
{
    const firnline_window *window = &layer->window;
    const int32_t column = (out_x * window->stride_x) - window->pad_left;
    const int32_t taps = rows->to - rows->from;
    if ((window->dilation_x == 1) && (taps == window->kernel_height) && (column >= 0) &&
        ((column + window->kernel_width) <= window->width)) {
        const int32_t place = (rows->origin * window->width) + column;
        firnline_mve_gather_whole(window, &x[place * window->channels], to);
    } else {
        firnline_mve_gather_part(layer, x, rows, out_x, to);
    }
}

/* Two places whose windows do not lie in the image as they are needed, or the last one alone. */
FIRNLINE_KERNEL void firnline_mve_gathered(const firnline_mve_layer *layer,
                                           firnline_mve_kernel kernel, const int8_t *x,
                                           const firnline_span *rows, int32_t out_x,
                                           int8_t *scratch, firnline_mve_run *run)
{
    const int32_t alone = ((out_x + 1) == layer->window.out_width) ? 1 : 0;
    const uint16_t apart = (uint16_t)layer->outputs;
    run->first = scratch;
    run->second = scratch;
    run->pairs = 1;
    firnline_mve_gather(layer, x, rows, out_x, scratch);
    if (alone == 0) {
        run->second = &scratch[layer->bytes];
        firnline_mve_gather(layer, x, rows, out_x + 1, &scratch[layer->bytes]);
        kernel(run);
    } else {
        /* The place is computed twice, to the same bytes. */
        for (uint16_t lane = 1u; lane < 8u; lane += 2u) {
            run->offsets[lane] = (uint16_t)(run->offsets[lane] - apart);
        }
        kernel(run);
        for (uint16_t lane = 1u; lane < 8u; lane += 2u) {
            run->offsets[lane] = (uint16_t)(run->offsets[lane] + apart);
        }
    }
}

/* A convolution: along every row, windows in place in one run, the others put together by two. */
FIRNLINE_KERNEL void firnline_mve_conv(const firnline_mve_layer *layer,
                                       firnline_mve_kernel kernel, const int8_t *x, int8_t *y,
                                       void *scratch)
{
    const firnline_window *window = &layer->window;
    const int32_t x_step = window->stride_x * window->channels;
    firnline_mve_run run;
    run.stream = layer->stream;
    run.y = y;
    run.lanes = 2 * layer->outputs;
    run.x_step = 2 * x_step;
    run.y_step = 2 * layer->outputs;
    run.shift = layer->shift;
    run.zero = layer->zero;
    for (uint16_t lane = 0u; lane < 8u; lane++) {
        const uint16_t place = ((lane & 1u) != 0u) ? (uint16_t)layer->outputs : 0u;
        run.offsets[lane] = (uint16_t)((lane >> 1) + place);
    }
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        int32_t out_x = 0;
        while (out_x < window->out_width) {
            const int32_t direct = layer->direct_to - out_x;
            run.y = &y[((out_y * window->out_width) + out_x) * layer->outputs];
            if ((out_x >= layer->direct_from) && (direct >= 2)) {
                const int32_t column = (out_x * window->stride_x) - window->pad_left;
                run.first = &x[((rows.origin * window->width) + column) * window->channels];
                run.second = &run.first[x_step];
                run.pairs = direct / 2;
                kernel(&run);
                out_x += (direct / 2) * 2;
            } else {
                firnline_mve_gathered(layer, kernel, x, &rows, out_x, scratch, &run);
                out_x += 2;
            }
        }
    }
}

#endif
