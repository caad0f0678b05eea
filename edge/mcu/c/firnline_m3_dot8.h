/*
 * The inner loop for Cortex-M3: sums of 64 bits (UMLAL).
 *
 * With a word of the weights a, b, c, d (a in the lowest byte) two products an element serve four
 * channels; the mask is 0xFF0000FF:
 *
 *     whole  += word * x                          a.x + (b.x << 8) + (c.x << 16) + (d.x << 24)
 *     middle += ((word ror 16) & mask) * x        c.x + (b.x << 24)
 *
 * Each sum is below 2^24, so `middle` gives c.x and b.x, and then `whole` gives a.x and d.x. Eight
 * instructions for eight products, loads included. The core's manual gives UMLAL 4 to 7 cycles, by
 * the size of its operands, and MLA 2: the time falls by less than the count of instructions does.
 */
#ifndef FIRNLINE_M3_DOT8_H
#define FIRNLINE_M3_DOT8_H

#include "firnline_base.h"

#if !defined(__thumb2__) || !defined(__GNUC__)
#error "these kernels are for Cortex-M3 and later, with GCC or Clang"
#endif

#define FIRNLINE_SMALL_ANYWHERE 1

typedef struct {
    uint64_t whole;
    uint64_t middle;
} firnline_m3_four;

typedef struct {
    firnline_m3_four four[2];
} firnline_small_start;

#include "firnline_small_run.h"

FIRNLINE_PLACED(firnline_m3_places, (offsetof(firnline_small_run, weights) == 32u)
                                       && (offsetof(firnline_small_run, sums) == 64u));

/* Every sum is modulo 2^64, so what it begins with may be negative. */
FIRNLINE_INLINE void firnline_small_begin(firnline_small_start *start, uint32_t value)
{
    const int64_t from = (int32_t)value;
    const firnline_m3_four four = {(uint64_t)(from * 0x01010101), (uint64_t)(from * 0x01000001)};
    start->four[0] = four;
    start->four[1] = four;
}

/* From sums (whole, middle) to a in its first register, b in r2, c and d in the last two. */
#define FIRNLINE_M3_SPLIT(whole, above, middle, top) \
    "lsr r2, " middle ", #24\n" \
    "orr r2, r2, " top ", lsl #8\n" \
    "ubfx " middle ", " middle ", #0, #24\n" \
    "subs " whole ", " whole ", r2, lsl #8\n" \
    "sbc " above ", " above ", #0\n" \
    "subs " whole ", " whole ", " middle ", lsl #16\n" \
    "sbc " above ", " above ", " middle ", lsr #16\n" \
    "lsr " top ", " whole ", #24\n" \
    "orr " top ", " top ", " above ", lsl #8\n" \
    "ubfx " whole ", " whole ", #0, #24\n"

/* One result: r1 next, r3 y, r4 add, r5 shift. */
#define FIRNLINE_M3_FINISH(sum) \
    "ldrd r0, r7, [r1], #8\n" \
    "add " sum ", " sum ", r0\n" \
    "smull r0, " sum ", " sum ", r7\n" \
    "add " sum ", " sum ", r4\n" \
    "asr " sum ", " sum ", r5\n" \
    "ssat " sum ", #8, " sum "\n" \
    "strb " sum ", [r3], #1\n"

/* Every register but the stack pointer is taken. 32 columns are unrolled, 30 bytes of code each;
 * the first pass begins inside, so that the last one ends with the last column. */
FIRNLINE_NAKED void firnline_small_blocks(firnline_small_run *run FIRNLINE_UNUSED)
{
    __asm__(".syntax unified\n"
            "push {r0, r4-r11, lr}\n"
            "ldrd r1, r2, [r0, #36]\n" /* x, end */
            "subs r3, r1, r2\n"
            "and r3, r3, #31\n" /* columns to leave out of the first pass */
            "rsb r3, r3, r3, lsl #4\n"
            "adr r4, 1f\n"
            "add r3, r4, r3, lsl #1\n"
            "adds r3, r3, #1\n"
            "push {r2, r3}\n"
            "ldm.w r0, {r6-r12, lr}\n"
            "push {r6-r12, lr}\n" /* sp: start; 32: end, 36: where to begin, 40: run */
            "ldr r0, [r0, #32]\n"
            "0:\n"
            "ldm.w sp, {r6-r12, lr}\n"
            "mov r5, #255\n"
            "orr r5, r5, #0xFF000000\n"
            "ldr pc, [sp, #36]\n"
            ".p2align 2\n"
            "1:\n"
            ".rept 32\n"
            "ldrb.w r4, [r1], #1\n"
            "ldm.n r0!, {r2, r3}\n"
            "umlal r6, r7, r2, r4\n"
            "and.w r2, r5, r2, ror #16\n"
            "umlal r8, r9, r2, r4\n"
            "umlal r10, r11, r3, r4\n"
            "and.w r3, r5, r3, ror #16\n"
            "umlal r12, lr, r3, r4\n"
            ".endr\n"
            "ldr r4, [sp, #32]\n"
            "cmp r1, r4\n"
            "bne.w 1b\n"
            "ldr r2, [sp, #40]\n"
            "str r0, [r2, #32]\n"
            "add.w r2, r2, #44\n"
            "ldm.w r2, {r1, r3, r4, r5}\n"
            "cmp r1, #0\n"
            "beq.w 2f\n"
            FIRNLINE_M3_SPLIT("r6", "r7", "r8", "r9")
            FIRNLINE_M3_FINISH("r6")
            FIRNLINE_M3_FINISH("r2")
            FIRNLINE_M3_FINISH("r8")
            FIRNLINE_M3_FINISH("r9")
            FIRNLINE_M3_SPLIT("r10", "r11", "r12", "lr")
            FIRNLINE_M3_FINISH("r10")
            FIRNLINE_M3_FINISH("r2")
            FIRNLINE_M3_FINISH("r12")
            FIRNLINE_M3_FINISH("lr")
            "ldr r2, [sp, #40]\n"
            "strd r1, r3, [r2, #44]\n"
            "ldrd r0, r3, [r2, #32]\n" /* weights, x */
            "ldr r2, [r2, #60]\n"
            "cmp r1, r2\n"
            "mov r1, r3\n"
            "bne.w 0b\n"
            "b 3f\n"
            "2:\n"
            "ldr r3, [r2, #20]\n"
            FIRNLINE_M3_SPLIT("r6", "r7", "r8", "r9")
            "strd r6, r2, [r3]\n"
            "strd r8, r9, [r3, #8]\n"
            FIRNLINE_M3_SPLIT("r10", "r11", "r12", "lr")
            "strd r10, r2, [r3, #16]\n"
            "strd r12, lr, [r3, #24]\n"
            "3:\n"
            "add sp, sp, #44\n"
            "pop {r4-r11, pc}\n");
}

FIRNLINE_INLINE int32_t firnline_small_high(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b) >> 32);
}

#endif
