/*
 * What the kernels for Cortex-M4, M7 and M33 share: two 16-bit products an instruction (SMLAD).
 *
 * Two rows of weights, A and B, lie together: every halfword is 256 * B + A, so a weight takes one
 * byte of flash as ever. With a word of two such halfwords (two columns) and x widened to 16 bits,
 *
 *     SMLAD(word, x)          adds 256 * B.x + A.x      (the word as it was loaded)
 *     SMLAD(SXTB16(word), x)  adds A.x
 *
 * one unpacking for four products. At the end 256 * B.x is the difference; all of it is modulo
 * 2^32, so only the final |B.x| must stay below 2^23, which is proved for every row at export.
 * 256 * B.x needs no shift back: it is requantised as it is, by a shift that is longer by 8.
 *
 * Columns go in fours. SXTB16 takes bytes 0 and 2, then, rotated, 1 and 3: weights are packed in
 * that order, which makes widening x two instructions for four elements.
 */
#ifndef FIRNLINE_DSP_BASE_H
#define FIRNLINE_DSP_BASE_H

#include "firnline_base.h"

#if !defined(__ARM_FEATURE_DSP) || !defined(__thumb2__)
#error "these kernels are for Cortex-M4, M7 and M33 with the DSP extension"
#endif

/* Around functions in assembler, which the GNU compiler does not see use their parameters. */
#define FIRNLINE_DSP_BEGIN                                                                         \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wunused-parameter\"")
#define FIRNLINE_DSP_END _Pragma("GCC diagnostic pop")

/* One shift for all channels: (hi32(acc * multiplier) + add) >> shift, clipped to int8, where `add`
 * is half a unit of the result plus the zero point. Rows B have 256 * acc, and values of their own.
 * The assembler reads the members by their places. */
typedef struct {
    uint32_t x_bytes; /* of x as int16, for one position */
    int32_t add_a;
    int32_t add_b;
    uint32_t shift_a;
    uint32_t shift_b;
    uint32_t entry; /* bytes into the unrolled loop to begin at, plus 1: the Thumb bit */
} firnline_dsp_finish;

/* 4 columns of 4 rows: words of weights at r0, x in two registers, sums in r2 to r5. */
#define FIRNLINE_DSP_FOUR_ROWS(x0, x1)                                                             \
    "ldmia.w r0!, {r10, r11, r12, lr}\n"                                                           \
    "smlad r3, r10, " x0 ", r3\n"                                                                  \
    "smlad r5, r11, " x0 ", r5\n"                                                                  \
    "sxtb16 r10, r10\n"                                                                            \
    "sxtb16 r11, r11\n"                                                                            \
    "smlad r3, r12, " x1 ", r3\n"                                                                  \
    "smlad r5, lr, " x1 ", r5\n"                                                                   \
    "sxtb16 r12, r12\n"                                                                            \
    "sxtb16 lr, lr\n"                                                                              \
    "smlad r2, r10, " x0 ", r2\n"                                                                  \
    "smlad r4, r11, " x0 ", r4\n"                                                                  \
    "smlad r2, r12, " x1 ", r2\n"                                                                  \
    "smlad r4, lr, " x1 ", r4\n"

/* Products with multipliers in r2 to r5 to int8, the second and fourth by a shift of their own: two
 * bytes in r2, two in r4. */
#define FIRNLINE_DSP_NARROW(shift_a, shift_b)                                                      \
    "asr.w r2, r2, " shift_a "\n"                                                                  \
    "asr.w r3, r3, " shift_b "\n"                                                                  \
    "asr.w r4, r4, " shift_a "\n"                                                                  \
    "asr.w r5, r5, " shift_b "\n"                                                                  \
    "ssat r2, #8, r2\n"                                                                            \
    "ssat r3, #8, r3\n"                                                                            \
    "ssat r4, #8, r4\n"                                                                            \
    "ssat r5, #8, r5\n"                                                                            \
    "bfi r2, r3, #8, #8\n"                                                                         \
    "bfi r4, r5, #8, #8\n"

/* Widen int8 to int16, 16 at a time, until `end`: 12 instructions for 16. x is aligned to words. */
FIRNLINE_DSP_BEGIN
FIRNLINE_NAKED void firnline_dsp_widen(const int8_t *x, int16_t *wide, const int16_t *end)
{
    __asm__("push {r4-r10, lr}\n"
            "1:\n"
            "ldmia.w r0!, {r4, r6, r8, r10}\n"
            "sxtb16 r3, r4\n"
            "sxtb16 r4, r4, ror #8\n"
            "sxtb16 r5, r6\n"
            "sxtb16 r6, r6, ror #8\n"
            "sxtb16 r7, r8\n"
            "sxtb16 r8, r8, ror #8\n"
            "sxtb16 r9, r10\n"
            "sxtb16 r10, r10, ror #8\n"
            "stmia.w r1!, {r3-r10}\n"
            "cmp r1, r2\n"
            "bne 1b\n"
            "pop {r4-r10, pc}\n");
}
FIRNLINE_DSP_END

/* Clip to what a folded Relu or Clip leaves, four at a time: saturating sums of unsigned bytes. */
FIRNLINE_KERNEL void firnline_dsp_clip(int8_t *y, uint32_t count, int32_t low, int32_t high)
{
    const uint32_t under = (uint32_t)(low + 128) * 0x01010101u;
    const uint32_t over = (uint32_t)(127 - high) * 0x01010101u;
    uint32_t left = count;
    while (left >= 4u) {
        uint32_t four;
        __asm__ volatile("ldr %0, [%1]\n"
                         "eor %0, %0, #0x80808080\n"
                         "uqadd8 %0, %0, %2\n"
                         "uqsub8 %0, %0, %2\n"
                         "uqsub8 %0, %0, %3\n"
                         "uqadd8 %0, %0, %3\n"
                         "eor %0, %0, #0x80808080\n"
                         "str %0, [%1], #4\n"
                         : "=&r"(four), "+r"(y)
                         : "r"(over), "r"(under)
                         : "memory");
        left -= 4u;
    }
    for (uint32_t i = 0u; i < left; i++) {
        const int32_t value = y[i];
        const int32_t above = (value > low) ? value : low;
        y[i] = (int8_t)((above < high) ? above : high);
    }
}

/* In assembler, as compilers would make a call of memset out of such a loop. */
FIRNLINE_INLINE int8_t *firnline_dsp_fill(int8_t *to, int32_t value, uint32_t count)
{
    for (uint32_t left = count; left != 0u; left--) {
        __asm__ volatile("strb %1, [%0], #1\n" : "+r"(to) : "r"(value) : "memory");
    }
    return to;
}

#endif
