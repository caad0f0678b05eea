/*
 * Depthwise convolution for Cortex-M4, M7 and M33: four channels at a time, 9 instructions a tap.
 *
 * Every position has a table of pointers, one a tap, so that windows are read where they lie; taps
 * in the padding point to a row of zero points. Weights are 16 bits wide in flash, as they are few
 * and unpacking them would cost half as much again. Channels that do not fill four are taken with
 * those before them, which come out the same a second time.
 */
#ifndef FIRNLINE_DSP_DEPTHWISE_H
#define FIRNLINE_DSP_DEPTHWISE_H

#include "firnline_dsp_base.h"
#include "firnline_window.h"

typedef struct {
    /* For every 4 channels: 4 words of bias, for every tap the weights of channels 0 and 2 and of 1
     * and 3, 4 multipliers. */
    const uint32_t *stream;
    uint32_t group_words; /* of the stream, for 4 channels */
    uint32_t zeros;       /* place in the scratch memory of the row of zero points */
    int32_t zero;         /* of the image */
    firnline_window window;
    firnline_dsp_finish finish; /* x_bytes: of the table */
} firnline_dsp_depthwise;

/* Channels from `first` until `end`. On the stack: y, add_a, table, end, where to enter. */
FIRNLINE_DSP_BEGIN
FIRNLINE_NAKED void firnline_dsp_depthwise_place(const firnline_dsp_finish *finish,
                                                 const uint32_t *stream,
                                                 const int8_t *const *table, int8_t *y,
                                                 uint32_t first, uint32_t end)
{
    __asm__("push {r4-r11, lr}\n"
            "ldmia.w r0, {r4-r9}\n"
            "mov lr, r7\n"
            "mov r7, r2\n"
            "add.w r12, r2, r4\n"
            "adr.w r10, 2f\n"
            "add.w r9, r9, r10\n"
            "ldrd r6, r8, [sp, #36]\n"
            "push.w {r3, r5, r7, r8, r9}\n"
            "mov r0, r1\n"
            "mov r1, r2\n"
            "1:\n"
            "ldmia.w r0!, {r2-r5}\n"
            "ldr.w pc, [sp, #16]\n"
            "2:\n"
            ".rept 16\n"
            "ldr.w r7, [r1], #4\n"
            "ldrd r10, r11, [r0], #8\n"
            "ldr.w r8, [r7, r6]\n"
            "sxtb16 r9, r8\n"
            "sxtb16 r8, r8, ror #8\n"
            "smlabb r2, r9, r10, r2\n"
            "smlatt r4, r9, r10, r4\n"
            "smlabb r3, r8, r11, r3\n"
            "smlatt r5, r8, r11, r5\n"
            ".endr\n"
            "cmp r1, r12\n"
            "bne.w 2b\n"
            "ldmia.w r0!, {r7-r10}\n"
            "ldmia.w sp, {r1, r11}\n"
            "smmla r2, r2, r7, r11\n"
            "smmla r3, r3, r8, r11\n"
            "smmla r4, r4, r9, r11\n"
            "smmla r5, r5, r10, r11\n"
            FIRNLINE_DSP_NARROW("lr", "lr")
            "pkhbt r2, r2, r4, lsl #16\n"
            "str.w r2, [r1, r6]\n"
            "add.w r6, r6, #4\n"
            "ldrd r1, r7, [sp, #8]\n"
            "cmp r6, r7\n"
            "bne.w 1b\n"
            "add sp, sp, #20\n"
            "pop {r4-r11, pc}\n");
}
FIRNLINE_DSP_END

/* The table of one row of the kernel, of which the taps in `columns` lie inside the image. */
FIRNLINE_INLINE const int8_t **firnline_dsp_point(const firnline_window *window, const int8_t *row,
                                                  const firnline_span *columns,
                                                  const int8_t *zeros, const int8_t **table)
{
    const int32_t step = window->dilation_x * window->channels;
    const int8_t *at = &row[(columns->origin + (columns->from * window->dilation_x))
                            * window->channels];
    for (int32_t tap = 0; tap < window->kernel_width; tap++) {
        if ((tap < columns->from) || (tap >= columns->to)) {
            *table = zeros;
        } else {
            *table = at;
            at = &at[step];
        }
        table++;
    }
    return table;
}

FIRNLINE_INLINE void firnline_dsp_table(const firnline_dsp_depthwise *layer, const int8_t *x,
                                        const firnline_span *rows, const firnline_span *columns,
                                        const int8_t *zeros, const int8_t **table)
{
    const firnline_window *const window = &layer->window;
    const firnline_span none = {0, 0, 0};
    for (int32_t tap = 0; tap < window->kernel_height; tap++) {
        const int32_t y = rows->origin + (tap * window->dilation_y);
        if ((tap < rows->from) || (tap >= rows->to)) {
            table = firnline_dsp_point(window, x, &none, zeros, table);
        } else {
            table = firnline_dsp_point(window, &x[y * window->width * window->channels], columns,
                                       zeros, table);
        }
    }
}

/* The scratch memory begins with the table. */
FIRNLINE_KERNEL void firnline_dsp_depthwise_int8(const firnline_dsp_depthwise *layer,
                                                 const int8_t *x, int8_t *y, void *scratch)
{
    const firnline_window *const window = &layer->window;
    const uint32_t channels = (uint32_t)window->channels;
    const uint32_t whole = channels & ~(uint32_t)3u;
    const uint32_t *const last = &layer->stream[(whole / 4u) * layer->group_words];
    const int8_t **const table = (const int8_t **)scratch;
    int8_t *const zeros = &((int8_t *)scratch)[layer->zeros];
    (void)firnline_dsp_fill(zeros, layer->zero, channels);
    for (int32_t out_y = 0; out_y < window->out_height; out_y++) {
        const firnline_span rows = firnline_rows(window, out_y);
        for (int32_t out_x = 0; out_x < window->out_width; out_x++) {
            const firnline_span columns = firnline_columns(window, out_x);
            firnline_dsp_table(layer, x, &rows, &columns, zeros, table);
            firnline_dsp_depthwise_place(&layer->finish, layer->stream, table, y, 0u, whole);
            if (whole != channels) {
                firnline_dsp_depthwise_place(&layer->finish, last, table, y, channels - 4u,
                                             channels);
            }
            y = &y[channels];
        }
    }
}

#endif
