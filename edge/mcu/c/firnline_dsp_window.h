/* The window of a convolution as one run of bytes: where it lies, or gathered from the image. */
#ifndef FIRNLINE_DSP_WINDOW_H
#define FIRNLINE_DSP_WINDOW_H

#include "firnline_dsp_base.h"
#include "firnline_window.h"

typedef struct {
    firnline_window window;
    uint32_t places;   /* of the output: height * width */
    uint32_t groups;   /* of the convolution */
    uint32_t depth;    /* channels of one group */
    uint32_t columns;  /* of a window as rows of weights read it, filled up to a multiple of 8 */
    uint32_t in_bytes; /* of the image that may be read, filled up to a multiple of 16 */
    int32_t zero;      /* of the image: what the padding counts as */
    uint32_t joined;   /* 1: the taps of a kernel's row lie side by side */
    uint32_t direct;   /* 1: those of all its rows do */
} firnline_dsp_view;

/* In assembler, as compilers would make a call of memcpy out of such loops. */
FIRNLINE_INLINE int8_t *firnline_dsp_copy(int8_t *to, const int8_t *from, uint32_t count)
{
    uint32_t left = count;
    uint32_t word;
    while (left >= 16u) {
        __asm__ volatile("ldr %0, [%1], #4\n str %0, [%2], #4\n"
                         "ldr %0, [%1], #4\n str %0, [%2], #4\n"
                         "ldr %0, [%1], #4\n str %0, [%2], #4\n"
                         "ldr %0, [%1], #4\n str %0, [%2], #4\n"
                         : "=&r"(word), "+r"(from), "+r"(to)
                         :
                         : "memory");
        left -= 16u;
    }
    while (left >= 4u) {
        __asm__ volatile("ldr %0, [%1], #4\n str %0, [%2], #4\n"
                         : "=&r"(word), "+r"(from), "+r"(to)
                         :
                         : "memory");
        left -= 4u;
    }
    while (left != 0u) {
        __asm__ volatile("ldrb %0, [%1], #1\n strb %0, [%2], #1\n"
                         : "=&r"(word), "+r"(from), "+r"(to)
                         :
                         : "memory");
        left--;
    }
    return to;
}

/* One row of the kernel, of which the taps in `columns` lie inside the image. */
FIRNLINE_INLINE int8_t *firnline_dsp_gather(const firnline_dsp_view *view, const int8_t *row,
                                            const firnline_span *columns, int8_t *to)
{
    const firnline_window *const window = &view->window;
    const uint32_t depth = view->depth;
    const uint32_t after = (uint32_t)(window->kernel_width - columns->to);
    to = firnline_dsp_fill(to, view->zero, (uint32_t)columns->from * depth);
    if (view->joined != 0u) {
        const int32_t first = columns->origin + columns->from;
        const uint32_t taps = (uint32_t)(columns->to - columns->from);
        to = firnline_dsp_copy(to, &row[first * window->channels], taps * depth);
    } else {
        for (int32_t tap = columns->from; tap < columns->to; tap++) {
            const int32_t at = columns->origin + (tap * window->dilation_x);
            to = firnline_dsp_copy(to, &row[at * window->channels], depth);
        }
    }
    return firnline_dsp_fill(to, view->zero, after * depth);
}

/* Where the window of a place of the output lies, in the image itself or gathered in `buffer`. As
 * many bytes as rows of weights have columns may be read there. */
FIRNLINE_KERNEL const int8_t *firnline_dsp_window(const firnline_dsp_view *view, const int8_t *x,
                                                  uint32_t place, uint32_t group, int8_t *buffer)
{
    const firnline_window *const window = &view->window;
    const int32_t out_y = (int32_t)(place / (uint32_t)window->out_width);
    const int32_t out_x = (int32_t)(place % (uint32_t)window->out_width);
    const firnline_span rows = firnline_rows(window, out_y);
    const firnline_span columns = firnline_columns(window, out_x);
    int8_t *to = buffer;
    if ((view->direct != 0u) && (rows.from == 0) && (rows.to == window->kernel_height)
        && (columns.from == 0) && (columns.to == window->kernel_width)) {
        const uint32_t at =
            (uint32_t)(((rows.origin * window->width) + columns.origin) * window->channels);
        if ((at + view->columns) <= view->in_bytes) {
            return &x[at];
        }
    }
    for (int32_t tap = 0; tap < window->kernel_height; tap++) {
        if ((tap < rows.from) || (tap >= rows.to)) {
            to = firnline_dsp_fill(to, view->zero, (uint32_t)window->kernel_width * view->depth);
        } else {
            const int32_t y = rows.origin + (tap * window->dilation_y);
            const int8_t *const row = &x[(y * window->width * window->channels)
                                         + (int32_t)(group * view->depth)];
            to = firnline_dsp_gather(view, row, &columns, to);
        }
    }
    return buffer;
}

#endif
