/*
 * What the inner loop of every core without SIMD is given. The core's file includes this one when
 * it has said
 *
 *     firnline_small_start     what the overlapping sums of eight channels begin with
 *     FIRNLINE_SMALL_ANYWHERE  1 where a word may be read at any address, 0 where only at
 *                              multiples of 4
 */
#ifndef FIRNLINE_SMALL_RUN_H
#define FIRNLINE_SMALL_RUN_H

#include "firnline_base.h"

#if FIRNLINE_SMALL_ANYWHERE
typedef uint32_t firnline_small_word __attribute__((may_alias, aligned(1)));
#else
typedef uint32_t firnline_small_word __attribute__((may_alias));
#endif

/* Assembler reads the members by their places. */
typedef struct {
    firnline_small_start start;
    const uint32_t *weights; /* moves on with every block */
    const uint8_t *x;
    const uint8_t *end;
    const int32_t *next; /* of a layer's `finish`; NULL: one block's sums go to `sums` */
    int8_t *y;
    int32_t add;
    uint32_t shift;
    const int32_t *last;
    uint32_t *sums;
} firnline_small_run;

#endif
