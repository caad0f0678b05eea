/*
 * The inner loop for RV32IM: products of 32 bits, and registers enough for plain C.
 *
 * With a word of the weights a, b, c, d (a in the lowest byte) three products an element serve
 * four channels; all sums are modulo 2^32:
 *
 *     whole += word * x                          a.x + (b.x << 8) + (c.x << 16) + (d.x << 24)
 *     upper += (word >> 16) * x                  c.x + (d.x << 8)
 *     odd   += ((word >> 8) & 0x00FF00FF) * x    b.x + (d.x << 16)
 *
 * The low byte of each sum is bare in one of them, which bares the next byte of another: see
 * firnline_rv32_split.
 */
#ifndef RV32_DOT8_H
#define RV32_DOT8_H

#include "firnline_base.h"

#if !defined(__riscv_mul) || !defined(__GNUC__)
#error "these kernels are for RV32 with multiplication, with GCC or Clang"
#endif

#define FIRNLINE_SMALL_ANYWHERE 0
typedef uint32_t firnline_small_word __attribute__((may_alias));

/* What makes a result of a sum that is 2^23 too great. */
typedef struct {
    int32_t bias; /* less 2^23, with what the zero point and the 128s make in it */
    int32_t multiplier;
} firnline_small_finish;

typedef struct {
    uint32_t whole;
    uint32_t upper;
    uint32_t odd;
} firnline_rv32_four;

typedef struct {
    firnline_rv32_four four[2];
} firnline_small_start;

typedef struct {
    firnline_small_start start;
    const uint32_t *weights; /* moves on with every block */
    const uint8_t *x;
    const uint8_t *end;
    const firnline_small_finish *next; /* NULL: one block's sums go to `sums` */
    int8_t *y;
    int32_t add;
    uint32_t shift;
    const firnline_small_finish *last;
    uint32_t *sums;
} firnline_small_run;

FIRNLINE_INLINE void firnline_small_begin(firnline_small_start *start, uint32_t value)
{
    const firnline_rv32_four four = {value * 0x01010101u, value * 0x0101u, value * 0x00010001u};
    start->four[0] = four;
    start->four[1] = four;
}

FIRNLINE_INLINE int32_t firnline_small_high(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b) >> 32);
}

FIRNLINE_INLINE void firnline_rv32_add(firnline_rv32_four *sums, uint32_t word, uint32_t x)
{
    sums->whole += word * x;
    sums->upper += (word >> 16) * x;
    sums->odd += ((word >> 8) & 0x00FF00FFu) * x;
}

FIRNLINE_INLINE void firnline_rv32_column(firnline_small_start *sums, const uint32_t *weights,
                                          const uint8_t *x, uint32_t k)
{
    firnline_rv32_add(&sums->four[0], weights[2u * k], x[k]);
    firnline_rv32_add(&sums->four[1], weights[(2u * k) + 1u], x[k]);
}

/* Eight channels, from run->start on. */
FIRNLINE_INLINE firnline_small_start firnline_rv32_dot8(firnline_small_run *run)
{
    firnline_small_start sums = run->start;
    const uint32_t *weights = run->weights;
    const uint8_t *x = run->x;
    const uint8_t *const whole = &x[(uint32_t)(run->end - x) & ~7u];
    while (x != whole) {
        firnline_rv32_column(&sums, weights, x, 0u);
        firnline_rv32_column(&sums, weights, x, 1u);
        firnline_rv32_column(&sums, weights, x, 2u);
        firnline_rv32_column(&sums, weights, x, 3u);
        firnline_rv32_column(&sums, weights, x, 4u);
        firnline_rv32_column(&sums, weights, x, 5u);
        firnline_rv32_column(&sums, weights, x, 6u);
        firnline_rv32_column(&sums, weights, x, 7u);
        weights = &weights[16];
        x = &x[8];
    }
    while (x != run->end) {
        firnline_rv32_column(&sums, weights, x, 0u);
        firnline_rv32_column(&sums, weights, x, 1u);
        weights = &weights[4];
        x = &x[2];
    }
    run->weights = weights;
    return sums;
}

FIRNLINE_INLINE void firnline_rv32_split(const firnline_rv32_four *four, uint32_t sums[4])
{
    const uint32_t lower = four->whole - (four->upper << 16); /* a + (b << 8) */
    const uint32_t a = ((lower - (four->odd << 8)) << 8) >> 8;
    const uint32_t b = (lower - a) >> 8;
    const uint32_t c = ((four->upper - ((four->odd - b) >> 8)) << 8) >> 8;
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = (four->upper - c) >> 8;
}

FIRNLINE_INLINE void firnline_rv32_finish(firnline_small_run *run, const uint32_t sums[4])
{
    for (uint32_t i = 0u; i < 4u; i++) {
        const int32_t acc = (int32_t)(sums[i] + (uint32_t)run->next[i].bias);
        int32_t result = firnline_small_high(acc, run->next[i].multiplier) + run->add;
        result >>= run->shift;
        result = (result > -128) ? result : -128;
        result = (result < 127) ? result : 127;
        run->y[i] = (int8_t)result;
    }
    run->next = &run->next[4];
    run->y = &run->y[4];
}

FIRNLINE_KERNEL void firnline_small_blocks(firnline_small_run *run)
{
    if (run->next == NULL) {
        const firnline_small_start sums = firnline_rv32_dot8(run);
        firnline_rv32_split(&sums.four[0], &run->sums[0]);
        firnline_rv32_split(&sums.four[1], &run->sums[4]);
    } else {
        do {
            const firnline_small_start sums = firnline_rv32_dot8(run);
            uint32_t four[4];
            firnline_rv32_split(&sums.four[0], four);
            firnline_rv32_finish(run, four);
            firnline_rv32_split(&sums.four[1], four);
            firnline_rv32_finish(run, four);
        } while (run->next != run->last);
    }
}

#endif
