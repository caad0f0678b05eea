/* Pooling of an int8 image: the greatest element of every window, or its mean. */
#ifndef FIRNLINE_PORTABLE_POOL_H
#define FIRNLINE_PORTABLE_POOL_H

#include "firnline_requant.h"
#include "firnline_window.h"

/* What lies in the padding is left out, so it is never the greatest. */
FIRNLINE_KERNEL void firnline_max_pool(const firnline_window *window, const int8_t *x, int8_t *y)
{
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            for (int32_t channel = 0; channel < window->channels; channel++) {
                int8_t greatest = INT8_MIN;
                for (int32_t ky = rows.from; ky < rows.to; ky++) {
                    for (int32_t kx = columns.from; kx < columns.to; kx++) {
                        const int32_t place = firnline_place(window, &rows, ky, &columns, kx);
                        const int8_t value = x[place + channel];
                        greatest = (value > greatest) ? value : greatest;
                    }
                }
                *y = greatest;
                y++;
            }
        }
    }
}

/* Elements a window is divided by: those inside the image, or with count_pad all of the kernel. */
FIRNLINE_INLINE int32_t firnline_pool_count(const firnline_window *window,
                                            const firnline_span *rows,
                                            const firnline_span *columns, int32_t count_pad)
{
    const int32_t inside = (rows->to - rows->from) * (columns->to - columns->from);
    return (count_pad != 0) ? (window->kernel_height * window->kernel_width) : inside;
}

/* The sum of x - zero over the elements inside the image, requantised; `how` has one factor for
 * every count of elements, or one for all. */
FIRNLINE_KERNEL void firnline_average_pool(const firnline_window *window,
                                           const firnline_requant *how, int32_t zero,
                                           int32_t count_pad, const int8_t *x, int8_t *y)
{
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            const int32_t count = firnline_pool_count(window, &rows, &columns, count_pad);
            for (int32_t channel = 0; channel < window->channels; channel++) {
                int32_t acc = 0;
                for (int32_t ky = rows.from; ky < rows.to; ky++) {
                    for (int32_t kx = columns.from; kx < columns.to; kx++) {
                        acc += x[firnline_place(window, &rows, ky, &columns, kx) + channel] - zero;
                    }
                }
                *y = firnline_requantise(how, acc, (uint32_t)(count - 1));
                y++;
            }
        }
    }
}

typedef struct {
    float scale; /* of the input */
    int32_t zero;
    float out_scale;
    float out_zero;
    int32_t low;
    int32_t high;
} firnline_average;

/* The mean in float, from the first element to the last; its zero point is added before it is
 * rounded, which decides the ties. */
FIRNLINE_KERNEL void firnline_average_pool_by_float(const firnline_window *window,
                                                    const firnline_average *how, int32_t count_pad,
                                                    const int8_t *x, int8_t *y)
{
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            const int32_t count = firnline_pool_count(window, &rows, &columns, count_pad);
            for (int32_t channel = 0; channel < window->channels; channel++) {
                float sum = 0.0f;
                for (int32_t ky = rows.from; ky < rows.to; ky++) {
                    for (int32_t kx = columns.from; kx < columns.to; kx++) {
                        const int32_t place = firnline_place(window, &rows, ky, &columns, kx);
                        sum = sum + ((float)(x[place + channel] - how->zero) * how->scale);
                    }
                }
                sum = ((sum / (float)count) / how->out_scale) + how->out_zero;
                *y = firnline_to_int8(sum, 0, how->low, how->high);
                y++;
            }
        }
    }
}

#endif
