/*
 * Decision trees: the leaves an input reaches are summed in tree order.
 *
 * A node is 8 bytes; its two children lie side by side. split is 2 * column, plus 1 where a missing
 * value goes left; at a leaf it is -1, and then `left` is the leaf's row of values.
 */
#ifndef FLOAT_TREES_H
#define FLOAT_TREES_H

#include "firnline_base.h"

typedef struct {
    float threshold;
    uint16_t left; /* the left child, from the root of the tree on; the right one follows it */
    int16_t split;
} firnline_node;

typedef struct {
    const firnline_node *nodes;
    const uint32_t *roots; /* [trees] */
    const uint32_t *leaf;  /* [trees]: the tree's first row of `values` */
    const float *values;   /* [leaves][outputs] */
    const float *base;     /* [outputs] */
    uint32_t trees;
    uint32_t outputs;
} firnline_trees;

FIRNLINE_INLINE uint32_t firnline_tree_leaf(const firnline_node *root, const float *x)
{
    const firnline_node *node = root;
    while (node->split >= 0) {
        const float value = x[node->split >> 1];
        const uint32_t missing_left = (uint32_t)node->split & 1u;
        const uint32_t goes_left =
            (value != value) ? missing_left : ((value <= node->threshold) ? 1u : 0u);
        node = &root[node->left + (1u - goes_left)];
    }
    return node->left;
}

FIRNLINE_KERNEL void firnline_trees_run(const firnline_trees *forest, const float *x, float *y)
{
    for (uint32_t i = 0u; i < forest->outputs; i++) {
        y[i] = forest->base[i];
    }
    for (uint32_t tree = 0u; tree < forest->trees; tree++) {
        const uint32_t leaf =
            forest->leaf[tree] + firnline_tree_leaf(&forest->nodes[forest->roots[tree]], x);
        for (uint32_t i = 0u; i < forest->outputs; i++) {
            y[i] = y[i] + forest->values[(leaf * forest->outputs) + i];
        }
    }
}

#endif
