/*
 * The layers that the fast kernels leave, for Cortex-M4, M7 and M33: channels with shifts of their
 * own or none that is exact, sums that pass 2^23, results that stay float.
 *
 * The same packing and the same products, one step of 8 columns a turn. Where 256 * B.x would not
 * fit in 32 bits, the columns are taken in parts that do, and the parts' sums are added.
 */
#ifndef FIRNLINE_DSP_GENERAL_H
#define FIRNLINE_DSP_GENERAL_H

#include "firnline_dsp_base.h"
#include "firnline_dsp_window.h"
#include "firnline_requant.h"

typedef struct {
    const uint32_t *stream; /* for every 4 rows 4 words of bias, and 8 for every 8 columns */
    uint32_t rows;          /* of one group of a convolution */
    uint32_t columns;       /* filled up to a multiple of 8 */
    uint32_t part;          /* columns of one part: a multiple of 8 */
} firnline_dsp_general;

/* Adds four rows' products with `columns` columns to acc; where the stream goes on. */
FIRNLINE_DSP_BEGIN
FIRNLINE_NAKED const uint32_t *firnline_dsp_dot4(const uint32_t *stream, const int16_t *x,
                                                 const int16_t *end, int32_t *acc)
{
    __asm__("push {r2-r11, lr}\n"
            "movs r2, #0\n"
            "movs r3, #0\n"
            "movs r4, #0\n"
            "movs r5, #0\n"
            "1:\n"
            "ldmia.w r1!, {r6-r9}\n" FIRNLINE_DSP_FOUR_ROWS("r6", "r7")
                FIRNLINE_DSP_FOUR_ROWS("r8", "r9")
            "ldr.w r6, [sp]\n"
            "cmp r1, r6\n"
            "bne 1b\n"
            "subs r3, r3, r2\n"
            "subs r5, r5, r4\n"
            "ldr.w r1, [sp, #4]\n"
            "ldmia.w r1, {r6-r9}\n"
            "add.w r6, r6, r2\n"
            "add.w r7, r7, r3, asr #8\n"
            "add.w r8, r8, r4\n"
            "add.w r9, r9, r5, asr #8\n"
            "stmia.w r1, {r6-r9}\n"
            "pop {r2-r11, pc}\n");
}
FIRNLINE_DSP_END

/* Sums of four rows; where the stream goes on. */
FIRNLINE_INLINE const uint32_t *firnline_dsp_sums(const firnline_dsp_general *layer,
                                                  const uint32_t *stream, const int16_t *wide,
                                                  int32_t acc[4])
{
    uint32_t done = 0u;
    for (uint32_t i = 0u; i < 4u; i++) {
        acc[i] = (int32_t)stream[i];
    }
    stream = &stream[4];
    while (done < layer->columns) {
        const uint32_t left = layer->columns - done;
        const uint32_t next = done + ((left < layer->part) ? left : layer->part);
        stream = firnline_dsp_dot4(stream, &wide[done], &wide[next], acc);
        done = next;
    }
    return stream;
}

/* The channels of one group, from `first` on, of an x that is widened already. */
FIRNLINE_KERNEL const uint32_t *firnline_dsp_general_rows(const firnline_dsp_general *layer,
                                                          const firnline_requant *how,
                                                          const uint32_t *stream, uint32_t first,
                                                          const int16_t *wide, int8_t *y)
{
    for (uint32_t row = 0u; row < layer->rows; row += 4u) {
        const uint32_t left = layer->rows - row;
        const uint32_t count = (left < 4u) ? left : 4u;
        int32_t acc[4];
        stream = firnline_dsp_sums(layer, stream, wide, acc);
        for (uint32_t i = 0u; i < count; i++) {
            y[row + i] = firnline_requantise(how, acc[i], first + row + i);
        }
    }
    return stream;
}

FIRNLINE_INLINE void firnline_dsp_general_widen(const firnline_dsp_general *layer, const int8_t *x,
                                                int16_t *wide)
{
    firnline_dsp_widen(x, wide, &wide[(layer->columns + 15u) & ~(uint32_t)15u]);
}

FIRNLINE_KERNEL void firnline_dsp_general_dense(const firnline_dsp_general *layer,
                                                const firnline_requant *how, const int8_t *x,
                                                int8_t *y, void *scratch)
{
    int16_t *const wide = (int16_t *)scratch;
    firnline_dsp_general_widen(layer, x, wide);
    (void)firnline_dsp_general_rows(layer, how, layer->stream, 0u, wide, y);
}

/* The result stays float: float(acc) * scale[n]. */
FIRNLINE_KERNEL void firnline_dsp_general_float(const firnline_dsp_general *layer,
                                                const float *scale, const int8_t *x, float *y,
                                                void *scratch)
{
    int16_t *const wide = (int16_t *)scratch;
    const uint32_t *stream = layer->stream;
    firnline_dsp_general_widen(layer, x, wide);
    for (uint32_t row = 0u; row < layer->rows; row += 4u) {
        const uint32_t left = layer->rows - row;
        const uint32_t count = (left < 4u) ? left : 4u;
        int32_t acc[4];
        stream = firnline_dsp_sums(layer, stream, wide, acc);
        for (uint32_t i = 0u; i < count; i++) {
            y[row + i] = (float)acc[i] * scale[row + i];
        }
    }
}

/* The scratch memory holds a window as int16 and as int8, each a multiple of 16 long. */
FIRNLINE_KERNEL void firnline_dsp_general_conv(const firnline_dsp_general *layer,
                                               const firnline_dsp_view *view,
                                               const firnline_requant *how, const int8_t *x,
                                               int8_t *y, void *scratch)
{
    const uint32_t filled = (layer->columns + 15u) & ~(uint32_t)15u;
    int16_t *const wide = (int16_t *)scratch;
    int8_t *const gathered = &((int8_t *)scratch)[2u * filled];
    for (uint32_t place = 0u; place < view->places; place++) {
        const uint32_t *stream = layer->stream;
        for (uint32_t group = 0u; group < view->groups; group++) {
            const uint32_t first = group * layer->rows;
            /* Always gathered (`direct` is 0): widening wants whole words. */
            (void)firnline_dsp_window(view, x, place, group, gathered);
            firnline_dsp_general_widen(layer, gathered, wide);
            stream = firnline_dsp_general_rows(layer, how, stream, first, wide, &y[first]);
        }
        y = &y[layer->rows * view->groups];
    }
}

#endif
