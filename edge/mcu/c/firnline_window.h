/* The windows that a convolution or a pooling lays over an image [height, width, channels]. */
#ifndef FIRNLINE_WINDOW_H
#define FIRNLINE_WINDOW_H

#include "firnline_base.h"

typedef struct {
    int32_t height; /* of the input */
    int32_t width;
    int32_t channels;
    int32_t out_height;
    int32_t out_width;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_y;
    int32_t stride_x;
    int32_t dilation_y;
    int32_t dilation_x;
    int32_t pad_top;
    int32_t pad_left;
} firnline_window;

/* The taps [from, to) of a kernel that lie inside the image; tap k is at origin + k * dilation. */
typedef struct {
    int32_t origin;
    int32_t from;
    int32_t to;
} firnline_span;

FIRNLINE_INLINE firnline_span firnline_taps(int32_t origin, int32_t dilation, int32_t kernel,
                                            int32_t extent)
{
    firnline_span span = {origin, 0, kernel};
    while ((span.from < span.to) && ((origin + (span.from * dilation)) < 0)) {
        span.from++;
    }
    while ((span.to > span.from) && ((origin + ((span.to - 1) * dilation)) >= extent)) {
        span.to--;
    }
    return span;
}

FIRNLINE_INLINE firnline_span firnline_rows(const firnline_window *window, int32_t out_y)
{
    return firnline_taps((out_y * window->stride_y) - window->pad_top, window->dilation_y,
                         window->kernel_height, window->height);
}

FIRNLINE_INLINE firnline_span firnline_columns(const firnline_window *window, int32_t out_x)
{
    return firnline_taps((out_x * window->stride_x) - window->pad_left, window->dilation_x,
                         window->kernel_width, window->width);
}

/* Place in the input of the first channel at a tap. */
FIRNLINE_INLINE int32_t firnline_place(const firnline_window *window, const firnline_span *rows,
                                       int32_t tap_y, const firnline_span *columns, int32_t tap_x)
{
    const int32_t y = rows->origin + (tap_y * window->dilation_y);
    const int32_t x = columns->origin + (tap_x * window->dilation_x);
    return ((y * window->width) + x) * window->channels;
}

#endif
