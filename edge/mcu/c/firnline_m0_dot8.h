/*
 * The inner loop for Cortex-M0: products of 32 bits (MULS), sums in the high registers.
 *
 * With a word of the weights a, b, c, d (a in the lowest byte) three products an element serve
 * four channels; all sums are modulo 2^32:
 *
 *     whole += word * x            a.x + (b.x << 8) + (c.x << 16) + (d.x << 24)
 *     back  += reversed * x        d.x + (c.x << 8) + (b.x << 16) + (a.x << 24)
 *     upper += (word >> 16) * x    c.x + (d.x << 8)
 *
 * The low byte of each sum is bare in one of them, which bares the next byte of another: that is
 * FIRNLINE_M0_SPLIT. 35 instructions for 16 products, loads included.
 */
#ifndef FIRNLINE_M0_DOT8_H
#define FIRNLINE_M0_DOT8_H

#include "firnline_base.h"

#if !defined(__thumb__) || !defined(__GNUC__)
#error "these kernels are for Cortex-M0, with GCC or Clang"
#endif

#define FIRNLINE_SMALL_ANYWHERE 0

typedef struct {
    uint32_t whole;
    uint32_t back;
    uint32_t upper;
} firnline_m0_four;

typedef struct {
    firnline_m0_four four[2];
} firnline_small_start;

#include "firnline_small_run.h"

FIRNLINE_PLACED(firnline_m0_places, (offsetof(firnline_small_run, weights) == 24u)
                                       && (offsetof(firnline_small_run, sums) == 56u));

FIRNLINE_INLINE void firnline_small_begin(firnline_small_start *start, uint32_t value)
{
    const uint32_t whole = value * 0x01010101u;
    const firnline_m0_four four = {whole, whole, value * 0x0101u};
    start->four[0] = four;
    start->four[1] = four;
}

/* From sums (whole, back, upper) to a, b, c, d in r1 to r4; r5 is taken. */
#define FIRNLINE_M0_SPLIT(whole, back, upper) \
    "mov r2, " whole "\n" \
    "mov r1, " back "\n" \
    "mov r4, " upper "\n" \
    "lsls r3, r4, #16\n" \
    "subs r2, r2, r3\n" /* a + (b << 8) */ \
    "lsls r3, r4, #8\n" \
    "subs r3, r1, r3\n" /* d, its 16 low bits */ \
    "lsls r3, r3, #8\n" \
    "subs r3, r4, r3\n" \
    "lsls r3, r3, #8\n" \
    "lsrs r3, r3, #8\n" /* c */ \
    "subs r4, r4, r3\n" \
    "lsrs r4, r4, #8\n" /* d */ \
    "subs r1, r1, r4\n" \
    "lsls r5, r3, #8\n" \
    "subs r1, r1, r5\n" \
    "lsrs r1, r1, #16\n" \
    "lsls r5, r2, #8\n" \
    "subs r1, r1, r5\n" /* b, its 16 low bits */ \
    "lsls r1, r1, #8\n" \
    "subs r1, r2, r1\n" \
    "lsls r1, r1, #8\n" \
    "lsrs r1, r1, #8\n" /* a */ \
    "subs r2, r2, r1\n" \
    "lsrs r2, r2, #8\n" /* b */

/* One result of the sum on the stack: r0 next, r6 y, r7 shift, r8 add. The product's upper word is
 * taken by halves of 16 bits, as `firnline_small_high` does. */
#define FIRNLINE_M0_FINISH(place) \
    "pop {r1}\n" \
    "ldm r0!, {r2, r3}\n" \
    "adds r1, r1, r2\n" \
    "uxth r2, r3\n" \
    "lsrs r3, r3, #16\n" \
    "uxth r4, r1\n" \
    "asrs r1, r1, #16\n" \
    "movs r5, r4\n" \
    "muls r5, r2, r5\n" \
    "lsrs r5, r5, #16\n" \
    "muls r4, r3, r4\n" \
    "adds r4, r4, r5\n" \
    "muls r2, r1, r2\n" \
    "muls r1, r3, r1\n" \
    "uxth r5, r4\n" \
    "adds r2, r2, r5\n" \
    "asrs r2, r2, #16\n" \
    "lsrs r4, r4, #16\n" \
    "adds r1, r1, r4\n" \
    "adds r1, r1, r2\n" \
    "add r1, r1, r8\n" \
    "asrs r1, r1, r7\n" \
    "sxtb r2, r1\n" \
    "cmp r1, r2\n" \
    "beq 5f\n" \
    "asrs r1, r1, #31\n" \
    "movs r2, #127\n" \
    "eors r1, r1, r2\n" \
    "5:\n" \
    "strb r1, [r6, #" place "]\n"

/* Every register but the stack pointer is taken. 32 columns are unrolled, 70 bytes of code for two;
 * the first pass begins inside, with x as far ahead, so that the last ends with the last column. */
FIRNLINE_NAKED void firnline_small_blocks(firnline_small_run *run FIRNLINE_UNUSED)
{
    __asm__(".syntax unified\n"
            "push {r4-r7, lr}\n"
            "mov r4, r8\n"
            "mov r5, r9\n"
            "mov r6, r10\n"
            "mov r7, r11\n"
            "push {r0, r4-r7}\n"
            "ldr r1, [r0, #28]\n" /* x */
            "ldr r2, [r0, #32]\n" /* end */
            "movs r4, #31\n"
            "subs r3, r1, r2\n"
            "ands r3, r3, r4\n" /* columns to leave out of the first pass */
            "subs r1, r1, r3\n"
            "movs r4, #35\n"
            "muls r3, r4, r3\n"
            "adr r4, 1f\n"
            "adds r3, r3, r4\n"
            "adds r3, r3, #1\n"
            "push {r1-r3}\n" /* sp: x, 4: end, 8: where to begin, 12: run */
            "0:\n"
            "ldr r0, [sp, #12]\n"
            "ldm r0!, {r2-r7}\n"
            "mov r8, r2\n"
            "mov r9, r3\n"
            "mov r10, r4\n"
            "mov r11, r5\n"
            "mov r12, r6\n"
            "mov lr, r7\n"
            "ldr r0, [r0]\n"
            "ldr r1, [sp]\n"
            "ldr r2, [sp, #8]\n"
            "bx r2\n"
            ".p2align 2\n"
            "1:\n"
            ".irp column, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30\n"
            "ldm r0!, {r2-r5}\n"
            "ldrb r6, [r1, #\\column]\n"
            "rev r7, r2\n"
            "muls r7, r6, r7\n"
            "add r9, r9, r7\n"
            "lsrs r7, r2, #16\n"
            "muls r7, r6, r7\n"
            "add r10, r10, r7\n"
            "muls r2, r6, r2\n"
            "add r8, r8, r2\n"
            "rev r7, r3\n"
            "muls r7, r6, r7\n"
            "add r12, r12, r7\n"
            "lsrs r7, r3, #16\n"
            "muls r7, r6, r7\n"
            "add lr, lr, r7\n"
            "muls r3, r6, r3\n"
            "add r11, r11, r3\n"
            "ldrb r6, [r1, #(\\column + 1)]\n"
            "rev r7, r4\n"
            "muls r7, r6, r7\n"
            "add r9, r9, r7\n"
            "lsrs r7, r4, #16\n"
            "muls r7, r6, r7\n"
            "add r10, r10, r7\n"
            "muls r4, r6, r4\n"
            "add r8, r8, r4\n"
            "rev r7, r5\n"
            "muls r7, r6, r7\n"
            "add r12, r12, r7\n"
            "lsrs r7, r5, #16\n"
            "muls r7, r6, r7\n"
            "add lr, lr, r7\n"
            "muls r5, r6, r5\n"
            "add r11, r11, r5\n"
            ".endr\n"
            "adds r1, r1, #32\n"
            "ldr r7, [sp, #4]\n"
            "cmp r1, r7\n"
            "beq 2f\n"
            "b 1b\n"
            "2:\n"
            "ldr r1, [sp, #12]\n"
            "str r0, [r1, #24]\n"
            "ldr r0, [r1, #36]\n"
            "cmp r0, #0\n"
            "bne 3f\n"
            "ldr r6, [r1, #56]\n"
            FIRNLINE_M0_SPLIT("r8", "r9", "r10")
            "stm r6!, {r1-r4}\n"
            FIRNLINE_M0_SPLIT("r11", "r12", "lr")
            "stm r6!, {r1-r4}\n"
            "b 4f\n"
            "3:\n"
            "ldr r6, [r1, #40]\n"
            "ldr r7, [r1, #48]\n"
            "ldr r5, [r1, #44]\n"
            "mov r4, r8\n"
            "mov r8, r5\n"
            FIRNLINE_M0_SPLIT("r4", "r9", "r10")
            "push {r1-r4}\n"
            FIRNLINE_M0_FINISH("0")
            FIRNLINE_M0_FINISH("1")
            FIRNLINE_M0_FINISH("2")
            FIRNLINE_M0_FINISH("3")
            FIRNLINE_M0_SPLIT("r11", "r12", "lr")
            "push {r1-r4}\n"
            FIRNLINE_M0_FINISH("4")
            FIRNLINE_M0_FINISH("5")
            FIRNLINE_M0_FINISH("6")
            FIRNLINE_M0_FINISH("7")
            "adds r6, r6, #8\n"
            "ldr r1, [sp, #12]\n"
            "str r0, [r1, #36]\n"
            "str r6, [r1, #40]\n"
            "ldr r2, [r1, #52]\n"
            "cmp r0, r2\n"
            "beq 4f\n"
            "b 0b\n"
            "4:\n"
            "add sp, #16\n"
            "pop {r4-r7}\n"
            "mov r8, r4\n"
            "mov r9, r5\n"
            "mov r10, r6\n"
            "mov r11, r7\n"
            "pop {r4-r7, pc}\n");
}

/* Upper word of a product of 64 bits, which the core has no instruction for; b is not negative. */
FIRNLINE_INLINE int32_t firnline_small_high(int32_t a, int32_t b)
{
    const uint32_t a_low = (uint32_t)a & 0xFFFFu;
    const int32_t a_high = a >> 16;
    const int32_t b_low = (int32_t)((uint32_t)b & 0xFFFFu);
    const int32_t b_high = b >> 16;
    const uint32_t middle = (a_low * (uint32_t)b_high) + ((a_low * (uint32_t)b_low) >> 16);
    const int32_t rest = (a_high * b_low) + (int32_t)(middle & 0xFFFFu);
    return (a_high * b_high) + (int32_t)(middle >> 16) + (rest >> 16);
}

#endif
