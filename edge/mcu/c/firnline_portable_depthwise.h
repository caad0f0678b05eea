/*
 * Depthwise convolution: every channel of the image by itself, into one or more of the result.
 *
 * As firnline_portable_conv.h with as many groups as channels; the weights lie
 * [kernel_height][kernel_width][out_channels], so that four channels go together and read
 * neighbouring bytes.
 */
#ifndef FIRNLINE_PORTABLE_DEPTHWISE_H
#define FIRNLINE_PORTABLE_DEPTHWISE_H

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

/* The taps of one window inside the image, as steps through bytes. */
typedef struct {
    int32_t rows;
    int32_t columns;
    int32_t x_row;    /* from the end of one row of taps to the next one, in the image */
    int32_t x_column; /* from one tap to the next */
    int32_t w_row;    /* the same in the weights */
    int32_t w_column;
    int32_t zero;
} firnline_depthwise_walk;

FIRNLINE_KERNEL void firnline_depthwise_four(const firnline_depthwise_walk *walk, const int8_t *x,
                                             const int8_t *weights, int32_t acc[4])
{
    const int32_t zero = walk->zero;
    const int32_t x_column = walk->x_column;
    const int32_t w_column = walk->w_column;
    int32_t a0 = acc[0];
    int32_t a1 = acc[1];
    int32_t a2 = acc[2];
    int32_t a3 = acc[3];
    for (int32_t row = 0; row < walk->rows; row++) {
        for (int32_t column = walk->columns; column > 0; column--) {
            a0 += ((int32_t)x[0] - zero) * weights[0];
            a1 += ((int32_t)x[1] - zero) * weights[1];
            a2 += ((int32_t)x[2] - zero) * weights[2];
            a3 += ((int32_t)x[3] - zero) * weights[3];
            x = &x[x_column];
            weights = &weights[w_column];
        }
        x = &x[walk->x_row];
        weights = &weights[walk->w_row];
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

FIRNLINE_KERNEL int32_t firnline_depthwise_one(const firnline_depthwise_walk *walk, const int8_t *x,
                                               const int8_t *weights, int32_t acc)
{
    for (int32_t row = 0; row < walk->rows; row++) {
        for (int32_t column = walk->columns; column > 0; column--) {
            acc += ((int32_t)x[0] - walk->zero) * weights[0];
            x = &x[walk->x_column];
            weights = &weights[walk->w_column];
        }
        x = &x[walk->x_row];
        weights = &weights[walk->w_row];
    }
    return acc;
}

/* All channels of one place; x and weights point to the first tap. */
FIRNLINE_KERNEL void firnline_depthwise_place(const firnline_depthwise *layer,
                                              const firnline_requant *how,
                                              const firnline_depthwise_walk *walk, const int8_t *x,
                                              const int8_t *weights, int8_t *y)
{
    const int32_t *const bias = layer->bias;
    const uint32_t outs = (uint32_t)layer->out_channels;
    const uint32_t fours = (layer->times == 1) ? (outs & ~3u) : 0u;
    uint32_t channel = fours;
    int32_t left = layer->times;
    for (uint32_t out = 0u; out < fours; out += 4u) {
        int32_t acc[4] = {bias[out], bias[out + 1u], bias[out + 2u], bias[out + 3u]};
        firnline_depthwise_four(walk, &x[out], &weights[out], acc);
        for (uint32_t i = 0u; i < 4u; i++) {
            y[out + i] = firnline_requantise(how, acc[i], out + i);
        }
    }
    for (uint32_t out = fours; out < outs; out++) {
        const int32_t acc = firnline_depthwise_one(walk, &x[channel], &weights[out], bias[out]);
        y[out] = firnline_requantise(how, acc, out);
        left--;
        if (left == 0) {
            left = layer->times;
            channel++;
        }
    }
}

FIRNLINE_KERNEL void firnline_depthwise_int8(const firnline_depthwise *layer,
                                             const firnline_requant *how, const int8_t *x,
                                             int8_t *y)
{
    const firnline_window *const window = &layer->window;
    const int32_t x_column = window->dilation_x * window->channels;
    const int32_t x_row = window->dilation_y * window->width * window->channels;
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            const int32_t wide = columns.to - columns.from;
            const int32_t missing = window->kernel_width - wide;
            const firnline_depthwise_walk walk = {rows.to - rows.from,
                                                  wide,
                                                  x_row - (wide * x_column),
                                                  x_column,
                                                  missing * layer->out_channels,
                                                  layer->out_channels,
                                                  layer->zero};
            const int32_t tap = (rows.from * window->kernel_width) + columns.from;
            const int32_t first = firnline_place(window, &rows, rows.from, &columns, columns.from);
            if ((walk.rows > 0) && (wide > 0)) {
                firnline_depthwise_place(layer, how, &walk, &x[first],
                                         &layer->weights[tap * layer->out_channels], y);
            } else { /* all padding */
                const firnline_depthwise_walk none = {0, 0, 0, 0, 0, 0, 0};
                firnline_depthwise_place(layer, how, &none, x, layer->weights, y);
            }
            y = &y[layer->out_channels];
        }
    }
}

#endif
