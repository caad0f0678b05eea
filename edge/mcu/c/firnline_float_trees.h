/*
 * Decision trees: the leaves an input reaches are summed in tree order.
 *
 * Only splits are nodes, and no float is compared: floats are ordered as integers, once a column
 * (firnline_trees_see), or by how many of the column's thresholds they pass
 * (firnline_trees_rank), which takes a byte a node where thresholds are few. A missing value is
 * seen as the greatest or the least of all, as the splits of its column want it.
 */
#ifndef FIRNLINE_FLOAT_TREES_H
#define FIRNLINE_FLOAT_TREES_H

#include "firnline_base.h"

typedef struct {
    const void *keys;      /* [splits]: an input above it goes to the second of `next` */
    const void *columns;   /* [splits]: place in `seen` */
    const int16_t *next;   /* [splits][2]: a split, or -1 - a row of `values` */
    const int16_t *roots;  /* [trees], as in `next` */
    const void *values;    /* [rows][outputs] */
    uint32_t trees;
    uint32_t outputs;
    uint32_t key_bytes;    /* 4: int32_t, 2: uint16_t, 1: uint8_t */
    uint32_t column_bytes; /* 2: uint16_t, 1: uint8_t */
    uint32_t value_bytes;  /* 4: int32_t or float, 2: int16_t */
} firnline_trees;

/* Floats in the order of integers. -0.0 comes right below 0.0: no threshold is -0.0. */
FIRNLINE_KERNEL void firnline_trees_see(const uint16_t *columns, uint32_t count, const float *x,
                                        int32_t *seen)
{
    for (uint32_t i = 0u; i < count; i++) {
        const uint32_t column = columns[i]; /* 2 * its place, plus 1 where missing goes left */
        const uint32_t bits = firnline_bits(x[column >> 1]);
        const uint32_t size = bits & 0x7FFFFFFFu;
        if (size > 0x7F800000u) {
            seen[i] = ((column & 1u) != 0u) ? INT32_MIN : INT32_MAX;
        } else {
            seen[i] = (bits == size) ? (int32_t)size : (-1 - (int32_t)size);
        }
    }
}

/* How many of a column's thresholds (ascending) lie below what is seen. */
FIRNLINE_KERNEL void firnline_trees_rank(const int32_t *levels, const uint16_t *counts,
                                         uint32_t count, int32_t *seen)
{
    for (uint32_t i = 0u; i < count; i++) {
        uint32_t from = 0u;
        uint32_t to = counts[i];
        while (from < to) {
            const uint32_t middle = (from + to) >> 1;
            if (levels[middle] < seen[i]) {
                from = middle + 1u;
            } else {
                to = middle;
            }
        }
        levels = &levels[counts[i]];
        seen[i] = (int32_t)from;
    }
}

/* Widths are constants where this is called: one of the branches is left of each of these. */
FIRNLINE_INLINE int32_t firnline_tree_key(const firnline_trees *forest, uint32_t node)
{
    if (forest->key_bytes == 4u) {
        return ((const int32_t *)forest->keys)[node];
    }
    if (forest->key_bytes == 2u) {
        return (int32_t)((const uint16_t *)forest->keys)[node];
    }
    return (int32_t)((const uint8_t *)forest->keys)[node];
}

FIRNLINE_INLINE uint32_t firnline_tree_column(const firnline_trees *forest, uint32_t node)
{
    if (forest->column_bytes == 2u) {
        return ((const uint16_t *)forest->columns)[node];
    }
    return ((const uint8_t *)forest->columns)[node];
}

FIRNLINE_INLINE uint32_t firnline_tree_leaf(const firnline_trees *forest, int32_t root,
                                            const int32_t *seen)
{
    int32_t at = root;
    while (at >= 0) {
        const uint32_t split = (uint32_t)at;
        const int32_t key = firnline_tree_key(forest, split);
        const uint32_t above = (seen[firnline_tree_column(forest, split)] > key) ? 1u : 0u;
        at = forest->next[(2u * split) + above];
    }
    return (uint32_t)(-1 - at) * forest->outputs;
}

/* Leaves that are multiples of one power of two, and never too many of it for a float: the sum of
 * integers is the sum of floats. */
FIRNLINE_INLINE void firnline_trees_add_whole(const firnline_trees *forest, const int32_t *seen,
                                              int32_t *sum)
{
    for (uint32_t tree = 0u; tree < forest->trees; tree++) {
        const uint32_t leaf = firnline_tree_leaf(forest, forest->roots[tree], seen);
        for (uint32_t i = 0u; i < forest->outputs; i++) {
            if (forest->value_bytes == 2u) {
                sum[i] += ((const int16_t *)forest->values)[leaf + i];
            } else {
                sum[i] += ((const int32_t *)forest->values)[leaf + i];
            }
        }
    }
}

FIRNLINE_INLINE void firnline_trees_add_float(const firnline_trees *forest, const int32_t *seen,
                                              float *sum)
{
    for (uint32_t tree = 0u; tree < forest->trees; tree++) {
        const uint32_t leaf = firnline_tree_leaf(forest, forest->roots[tree], seen);
        for (uint32_t i = 0u; i < forest->outputs; i++) {
            sum[i] = sum[i] + ((const float *)forest->values)[leaf + i];
        }
    }
}

#endif
