/*
 * Dense layers on cores without SIMD: Cortex-M0, Cortex-M3 and RV32IMC.
 *
 * A product of 32 bits has room for more than one product of bytes. Weights and inputs are moved
 * to 0..255 by adding 128, and a word holds the weights of four channels for one column. The word
 * times x is then four products 8 bits apart, whose sums over the columns overlap. Yet three words
 * (or two double words) of such sums, taken of the same four bytes in different orders, fix all
 * four as long as each is below 2^24: three products do the work of four, and no byte is unpacked.
 * Which orders are cheap depends on the core, so every family brings, before this file,
 *
 *     firnline_small_start   what the overlapping sums of eight channels begin with
 *     firnline_small_begin   makes it, for eight sums that begin with one value
 *     firnline_small_blocks  the loops over columns and over blocks of eight channels
 *     firnline_small_high    upper word of a signed 64-bit product
 *     firnline_small_word    uint32_t as it may be read from bytes (firnline_small_run.h)
 *
 * With u = weight + 128 and v = x + 128, sum(weight * v) = sum(u * v) - 128 * sum(v). Sums that
 * begin with 2^23 - 128 * sum(v) are therefore 2^23 + sum(weight * v) in the end, which is within
 * 0..2^24 - 1 for all but extreme layers: these are requantised in place, block after block. Where
 * that is not proved at export, or the result is not uniform int8, sums begin with 0, columns are
 * taken in parts that keep sum(u * v) below 2^24, and C does the rest.
 */
#ifndef FIRNLINE_SMALL_H
#define FIRNLINE_SMALL_H

#include "firnline_requant.h"

#define FIRNLINE_SMALL_BLOCK 8u /* channels that go together */
#define FIRNLINE_SMALL_MIDDLE 0x800000u

typedef struct {
    const uint32_t *weights; /* [blocks][columns][2]: bytes 128 + weight; 0 where there is none */
    const int32_t *finish;   /* [channels][2]: bias, with zero point, 128s and 2^23 folded in, and
                              * multiplier */
    int32_t add;             /* half a unit of the result plus the zero point */
    uint32_t shift;          /* of the product's upper word, after `add` */
    int32_t low;
    int32_t high;
    uint32_t channels;
    uint32_t in_place; /* channels requantised in place: the first whole blocks, or 0 */
    uint32_t columns;  /* even */
    uint32_t part;     /* columns whose sums from 0 on stay below 2^24: even */
} firnline_small;

/* to[i] = x[i] + 128, in 0..255; returns their sum. */
FIRNLINE_KERNEL uint32_t firnline_small_shift(const int8_t *x, uint8_t *to, uint32_t count)
{
    const uint32_t even = 0x00FF00FFu;
    const uintptr_t places = (uintptr_t)x | (uintptr_t)to;
    uint32_t total = 0u;
    uint32_t words = 0u;
    if ((FIRNLINE_SMALL_ANYWHERE != 0) || ((places & 3u) == 0u)) {
        words = count / 4u;
    }
    const firnline_small_word *from = (const firnline_small_word *)(const void *)x;
    firnline_small_word *into = (firnline_small_word *)(void *)to;
    uint32_t left = words;
    while (left != 0u) {
        const uint32_t some = (left < 128u) ? left : 128u; /* halves of `sums` hold 128 * 510 */
        const firnline_small_word *const end = &from[some];
        uint32_t sums = 0u;
        do {
            const uint32_t word = *from ^ 0x80808080u;
            *into = word;
            sums += (word & even) + ((word >> 8) & even);
            from++;
            into++;
        } while (from != end);
        total += (sums & 0xFFFFu) + (sums >> 16);
        left -= some;
    }
    for (uint32_t i = 4u * words; i < count; i++) {
        const uint32_t value = (uint32_t)((int32_t)x[i] + 128);
        to[i] = (uint8_t)value;
        total += value;
    }
    return total;
}

/* Sums of eight channels over all columns, from 0 on. */
FIRNLINE_INLINE void firnline_small_sums(const firnline_small *layer, const uint32_t *weights,
                                         const uint8_t *x, uint32_t sums[FIRNLINE_SMALL_BLOCK])
{
    uint32_t some[FIRNLINE_SMALL_BLOCK];
    firnline_small_run run;
    for (uint32_t i = 0u; i < FIRNLINE_SMALL_BLOCK; i++) {
        sums[i] = 0u;
    }
    firnline_small_begin(&run.start, 0u);
    run.weights = weights;
    run.next = NULL;
    run.sums = some;
    for (uint32_t k = 0u; k < layer->columns; k += layer->part) {
        const uint32_t left = layer->columns - k;
        run.x = &x[k];
        run.end = &run.x[(left < layer->part) ? left : layer->part];
        firnline_small_blocks(&run);
        for (uint32_t i = 0u; i < FIRNLINE_SMALL_BLOCK; i++) {
            sums[i] += some[i];
        }
    }
}

/* The first channels of one place, requantised in place. */
FIRNLINE_INLINE void firnline_small_in_place(const firnline_small *layer, const uint8_t *x,
                                             uint32_t offset, int8_t *y)
{
    firnline_small_run run;
    firnline_small_begin(&run.start, offset);
    run.weights = layer->weights;
    run.x = x;
    run.end = &x[layer->columns];
    run.next = layer->finish;
    run.last = &layer->finish[2u * layer->in_place];
    run.y = y;
    run.add = layer->add;
    run.shift = layer->shift;
    firnline_small_blocks(&run);
    if ((layer->low > -128) || (layer->high < 127)) {
        for (uint32_t i = 0u; i < layer->in_place; i++) {
            const int32_t above = (y[i] > layer->low) ? y[i] : layer->low;
            y[i] = (int8_t)((above < layer->high) ? above : layer->high);
        }
    }
}

/* All channels of one place: x as `firnline_small_shift` makes it, `total` its sum. Of `how` and
 * `scale` the callers pass at most one, and the compiler drops what is not used. */
FIRNLINE_INLINE void firnline_small_place(const firnline_small *layer, const firnline_requant *how,
                                          const float *scale, const uint8_t *x, uint32_t total,
                                          int8_t *y, float *floats)
{
    const uint32_t offset = FIRNLINE_SMALL_MIDDLE - (128u * total);
    uint32_t n = 0u;
    if ((how == NULL) && (scale == NULL) && (layer->in_place != 0u)) {
        firnline_small_in_place(layer, x, offset, y);
        n = layer->in_place;
    }
    for (; n < layer->channels; n += FIRNLINE_SMALL_BLOCK) {
        uint32_t sums[FIRNLINE_SMALL_BLOCK];
        firnline_small_sums(layer, &layer->weights[(n / 4u) * layer->columns], x, sums);
        for (uint32_t i = 0u; (i < FIRNLINE_SMALL_BLOCK) && ((n + i) < layer->channels); i++) {
            const int32_t *const finish = &layer->finish[2u * (n + i)];
            const int32_t acc = (int32_t)(sums[i] + offset + (uint32_t)finish[0]);
            if (scale != NULL) {
                floats[n + i] = (float)acc * scale[n + i];
            } else if (how != NULL) {
                y[n + i] = firnline_requantise(how, acc, n + i);
            } else {
                int32_t result = firnline_small_high(acc, finish[1]) + layer->add;
                result >>= layer->shift;
                result = (result > layer->low) ? result : layer->low;
                result = (result < layer->high) ? result : layer->high;
                y[n + i] = (int8_t)result;
            }
        }
    }
}

/* Inputs [rows][count] to int8, with one shift for all channels. */
FIRNLINE_KERNEL void firnline_small_dense(const firnline_small *layer, uint32_t rows,
                                          uint32_t count, const int8_t *x, int8_t *y,
                                          uint8_t *shifted)
{
    for (uint32_t row = 0u; row < rows; row++) {
        const uint32_t total = firnline_small_shift(&x[row * count], shifted, count);
        firnline_small_place(layer, NULL, NULL, shifted, total, &y[row * layer->channels], NULL);
    }
}

/* However the channels are requantised. */
FIRNLINE_KERNEL void firnline_small_dense_by(const firnline_small *layer,
                                             const firnline_requant *how, uint32_t rows,
                                             uint32_t count, const int8_t *x, int8_t *y,
                                             uint8_t *shifted)
{
    for (uint32_t row = 0u; row < rows; row++) {
        const uint32_t total = firnline_small_shift(&x[row * count], shifted, count);
        firnline_small_place(layer, how, NULL, shifted, total, &y[row * layer->channels], NULL);
    }
}

/* Results that stay float: float(acc) * scale. */
FIRNLINE_KERNEL void firnline_small_dense_float(const firnline_small *layer, const float *scale,
                                                uint32_t rows, uint32_t count, const int8_t *x,
                                                float *y, uint8_t *shifted)
{
    for (uint32_t row = 0u; row < rows; row++) {
        const uint32_t total = firnline_small_shift(&x[row * count], shifted, count);
        firnline_small_place(layer, NULL, scale, shifted, total, NULL, &y[row * layer->channels]);
    }
}

#endif
