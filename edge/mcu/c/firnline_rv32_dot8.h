/*
 * The inner loop for RV32IMC: products of 32 bits.
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
#ifndef FIRNLINE_RV32_DOT8_H
#define FIRNLINE_RV32_DOT8_H

#include "firnline_base.h"

#if !defined(__riscv_mul) || !defined(__GNUC__)
#error "these kernels are for RV32 with multiplication, with GCC or Clang"
#endif

#define FIRNLINE_SMALL_ANYWHERE 0

typedef struct {
    uint32_t whole;
    uint32_t upper;
    uint32_t odd;
} firnline_rv32_four;

typedef struct {
    firnline_rv32_four four[2];
} firnline_small_start;

#include "firnline_small_run.h"

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

/* Column k from where the pointers stand: 21 instructions for eight products. */
#define FIRNLINE_RV32_WORD(place, whole, upper, odd) \
    "lw %[word], (" place ")(%[weights])\n" \
    "mul %[part], %[word], %[value]\n" \
    "add %[" whole "], %[" whole "], %[part]\n" \
    "srli %[part], %[word], 16\n" \
    "srli %[word], %[word], 8\n" \
    "and %[word], %[word], %[mask]\n" \
    "mul %[part], %[part], %[value]\n" \
    "add %[" upper "], %[" upper "], %[part]\n" \
    "mul %[word], %[word], %[value]\n" \
    "add %[" odd "], %[" odd "], %[word]\n"

#define FIRNLINE_RV32_COLUMN(k) \
    "lbu %[value], " k "(%[x])\n" \
    FIRNLINE_RV32_WORD("8 * " k, "whole0", "upper0", "odd0") \
    FIRNLINE_RV32_WORD("8 * " k " + 4", "whole1", "upper1", "odd1")

/* Left to itself, a compiler takes eight columns at once, and has no registers for that. */
#define FIRNLINE_RV32_LOOP(columns, step, end) \
    __asm__("1:\n" columns \
            "addi %[x], %[x], " step "\n" \
            "addi %[weights], %[weights], 8 * " step "\n" \
            "bne %[x], %[stop], 1b\n" \
            : [x] "+r"(x), [weights] "+r"(weights), [whole0] "+r"(sums.four[0].whole), \
              [upper0] "+r"(sums.four[0].upper), [odd0] "+r"(sums.four[0].odd), \
              [whole1] "+r"(sums.four[1].whole), [upper1] "+r"(sums.four[1].upper), \
              [odd1] "+r"(sums.four[1].odd), [word] "=&r"(word), [part] "=&r"(part), \
              [value] "=&r"(value) \
            : [stop] "r"(end), [mask] "r"(0x00FF00FFu) \
            : "memory")

/* Eight channels, from run->start on. */
FIRNLINE_INLINE firnline_small_start firnline_rv32_dot8(firnline_small_run *run)
{
    firnline_small_start sums = run->start;
    const uint32_t *weights = run->weights;
    const uint8_t *x = run->x;
    const uint8_t *const end = run->end;
    const uint8_t *const whole = &x[(uint32_t)(end - x) & ~15u];
    uint32_t word;
    uint32_t part;
    uint32_t value;
    if (x != whole) {
        FIRNLINE_RV32_LOOP(
            FIRNLINE_RV32_COLUMN("0") FIRNLINE_RV32_COLUMN("1") FIRNLINE_RV32_COLUMN("2")
            FIRNLINE_RV32_COLUMN("3") FIRNLINE_RV32_COLUMN("4") FIRNLINE_RV32_COLUMN("5")
            FIRNLINE_RV32_COLUMN("6") FIRNLINE_RV32_COLUMN("7") FIRNLINE_RV32_COLUMN("8")
            FIRNLINE_RV32_COLUMN("9") FIRNLINE_RV32_COLUMN("10") FIRNLINE_RV32_COLUMN("11")
            FIRNLINE_RV32_COLUMN("12") FIRNLINE_RV32_COLUMN("13") FIRNLINE_RV32_COLUMN("14")
            FIRNLINE_RV32_COLUMN("15"), "16", whole);
    }
    if (x != end) {
        FIRNLINE_RV32_LOOP(FIRNLINE_RV32_COLUMN("0") FIRNLINE_RV32_COLUMN("1"), "2", end);
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

FIRNLINE_INLINE int8_t firnline_rv32_finish(const firnline_small_run *run,
                                            const int32_t finish[2], uint32_t sum)
{
    const int32_t acc = (int32_t)(sum + (uint32_t)finish[0]);
    int32_t result = firnline_small_high(acc, finish[1]) + run->add;
    result >>= run->shift;
    result = (result > -128) ? result : -128;
    result = (result < 127) ? result : 127;
    return (int8_t)result;
}

FIRNLINE_KERNEL void firnline_small_blocks(firnline_small_run *run)
{
    do {
        const firnline_small_start overlapping = firnline_rv32_dot8(run);
        uint32_t sums[8];
        firnline_rv32_split(&overlapping.four[0], &sums[0]);
        firnline_rv32_split(&overlapping.four[1], &sums[4]);
        if (run->next == NULL) {
            for (uint32_t i = 0u; i < 8u; i++) {
                run->sums[i] = sums[i];
            }
            break;
        }
        for (uint32_t i = 0u; i < 8u; i++) {
            run->y[i] = firnline_rv32_finish(run, &run->next[2u * i], sums[i]);
        }
        run->next = &run->next[16];
        run->y = &run->y[8];
    } while (run->next != run->last);
}

#endif
