/*
 * Convolution for Cortex-M4, M7 and M33: two positions share the weights, and their unpacking.
 *
 * 23 instructions for 2 rows, 2 positions and 8 columns, 0.72 a product. The windows of two
 * positions are widened side by side (4 columns of one, 4 of the other) into a buffer, and then all
 * rows of weights stream past it. A window that is one run of the image is read where it lies;
 * others, and those that hang over into the padding, are gathered first.
 */
#ifndef FIRNLINE_DSP_CONV_H
#define FIRNLINE_DSP_CONV_H

#include "firnline_dsp_base.h"
#include "firnline_dsp_window.h"

typedef struct {
    /* For every 2 rows: 2 words of bias (A, 256 B + A), for every 8 columns 4 words of weights, 2
     * multipliers. */
    const uint32_t *stream;
    uint32_t group_words; /* of the stream, for 2 rows */
    uint32_t rows;        /* of one group of the convolution */
    uint32_t columns;     /* of a window, filled up to a multiple of 8 */
    uint32_t gathered;    /* places in the scratch memory: of two windows as int8 */
    uint32_t spare;       /* and of one output, when there is an odd number of positions */
    firnline_dsp_view view;
    firnline_dsp_finish finish;
} firnline_dsp_conv;

#define FIRNLINE_DSP_CONV_WORD(w, xp, xq)                                                          \
    "smlad r3, " w ", " xp ", r3\n"                                                                \
    "smlad r5, " w ", " xq ", r5\n"                                                                \
    "sxtb16 " w ", " w "\n"

#define FIRNLINE_DSP_CONV_HALF(w0, w1)                                                             \
    "ldmia.w r1!, {r6-r9}\n" FIRNLINE_DSP_CONV_WORD(w0, "r6", "r8")                                \
        FIRNLINE_DSP_CONV_WORD(w1, "r7", "r9")                                                     \
    "smlad r2, " w0 ", r6, r2\n"                                                                   \
    "smlad r4, " w0 ", r8, r4\n"                                                                   \
    "smlad r2, " w1 ", r7, r2\n"                                                                   \
    "smlad r4, " w1 ", r9, r4\n"

/* Rows until y reaches `end`, two at a time, at one position to y and at the next to `other`.
 * On the stack: end of x, add_a, add_b, shift_a, shift_b, both outputs, x, end, where to enter. */
FIRNLINE_DSP_BEGIN
FIRNLINE_NAKED void firnline_dsp_conv_rows(const firnline_dsp_finish *finish,
                                           const uint32_t *stream, const int16_t *x, int8_t *y,
                                           const int8_t *end, int8_t *other)
{
    __asm__("push {r4-r11, lr}\n"
            "ldmia.w r0, {r4-r9}\n"
            "adr.w r12, 2f\n"
            "add.w r12, r12, r9\n"
            "mov r11, r2\n"
            "mov r9, r3\n"
            "ldrd r0, r10, [sp, #36]\n"
            "push {r0, r12}\n"
            "add.w r4, r2, r4, lsl #1\n"
            "push {r4-r11}\n"
            "mov r0, r1\n"
            "mov r1, r2\n"
            "1:\n"
            "ldmia.w r0!, {r2, r3}\n"
            "mov r4, r2\n"
            "mov r5, r3\n"
            "ldr.w pc, [sp, #36]\n"
            "2:\n"
            ".rept 16\n"
            "ldmia.w r0!, {r10, r11, r12, lr}\n" FIRNLINE_DSP_CONV_HALF("r10", "r11")
                FIRNLINE_DSP_CONV_HALF("r12", "lr")
            ".endr\n"
            "ldmia.w sp, {r6-r12}\n"
            "cmp r1, r6\n"
            "bne.w 2b\n"
            "ldmia.w r0!, {r1, r6}\n"
            "sub.w r3, r3, r2\n"
            "sub.w r5, r5, r4\n"
            "smmla r2, r2, r1, r7\n"
            "smmla r3, r3, r6, r8\n"
            "smmla r4, r4, r1, r7\n"
            "smmla r5, r5, r6, r8\n"
            FIRNLINE_DSP_NARROW("r9", "r10")
            "ldrd r1, r6, [sp, #28]\n"
            "strh.w r2, [r11], #2\n"
            "strh.w r4, [r12], #2\n"
            "strd r11, r12, [sp, #20]\n"
            "cmp r11, r6\n"
            "bne.w 1b\n"
            "add sp, sp, #40\n"
            "pop {r4-r11, pc}\n");
}
FIRNLINE_DSP_END

/* Two windows widened side by side, 8 columns of both a turn: 16 instructions. */
FIRNLINE_INLINE void firnline_dsp_widen_pair(const int8_t *p, const int8_t *q, int16_t *wide,
                                             uint32_t columns)
{
    uint32_t left = columns;
#define FIRNLINE_DSP_WIDEN_FOUR                                                                    \
    "ldr r5, [%0], #4\n"                                                                           \
    "ldr r9, [%1], #4\n"                                                                           \
    "sxtb16 r4, r5\n"                                                                              \
    "sxtb16 r5, r5, ror #8\n"                                                                      \
    "sxtb16 r8, r9\n"                                                                              \
    "sxtb16 r9, r9, ror #8\n"                                                                      \
    "stmia.w %2!, {r4, r5, r8, r9}\n"
    __asm__ volatile("1:\n" FIRNLINE_DSP_WIDEN_FOUR FIRNLINE_DSP_WIDEN_FOUR "subs %3, %3, #8\n"
                     "bne 1b\n"
                     : "+r"(p), "+r"(q), "+r"(wide), "+r"(left)
                     :
                     : "r4", "r5", "r8", "r9", "cc", "memory");
#undef FIRNLINE_DSP_WIDEN_FOUR
}

/* All rows of one group of the convolution at two positions. */
FIRNLINE_INLINE void firnline_dsp_conv_pair(const firnline_dsp_conv *layer, const uint32_t *stream,
                                            const int16_t *wide, int8_t *y, int8_t *other)
{
    const uint32_t even = layer->rows & ~(uint32_t)1u;
    if (even != 0u) {
        firnline_dsp_conv_rows(&layer->finish, stream, wide, y, &y[even], other);
    }
    if (even != layer->rows) {
        /* The last row goes with a row of zeros, whose results go nowhere. */
        int8_t last[4];
        firnline_dsp_conv_rows(&layer->finish, &stream[(even / 2u) * layer->group_words], wide,
                               last, &last[2], &last[2]);
        y[even] = last[0];
        other[even] = last[2];
    }
}

/* The scratch memory begins with two windows as int16, each a multiple of 16 long. */
FIRNLINE_KERNEL void firnline_dsp_conv_int8(const firnline_dsp_conv *layer, const int8_t *x,
                                            int8_t *y, void *scratch)
{
    const firnline_dsp_view *const view = &layer->view;
    const uint32_t stride = (layer->columns + 15u) & ~(uint32_t)15u;
    const uint32_t outs = layer->rows * view->groups;
    const uint32_t words = ((layer->rows + 1u) / 2u) * layer->group_words;
    int16_t *const wide = (int16_t *)scratch;
    int8_t *const gathered = &((int8_t *)scratch)[layer->gathered];
    int8_t *const spare = &((int8_t *)scratch)[layer->spare];
    for (uint32_t place = 0u; place < view->places; place += 2u) {
        const uint32_t both = ((place + 1u) < view->places) ? 1u : 0u;
        int8_t *other = (both != 0u) ? &y[outs] : spare;
        for (uint32_t group = 0u; group < view->groups; group++) {
            const int8_t *const p = firnline_dsp_window(view, x, place, group, gathered);
            const int8_t *const q =
                (both != 0u) ? firnline_dsp_window(view, x, place + 1u, group, &gathered[stride])
                             : p;
            firnline_dsp_widen_pair(p, q, wide, layer->columns);
            firnline_dsp_conv_pair(layer, &layer->stream[group * words], wide,
                                   &y[group * layer->rows], &other[group * layer->rows]);
        }
        y = &y[2u * outs];
    }
}

#endif
