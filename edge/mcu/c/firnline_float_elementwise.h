/* Element by element on float: two operands with broadcasting, one operand, gaps filled, places. */
#ifndef FIRNLINE_FLOAT_ELEMENTWISE_H
#define FIRNLINE_FLOAT_ELEMENTWISE_H

#include "firnline_axes.h"
#include "firnline_divide.h"
#include "firnline_float_math.h"

/* The result's axes, outermost first; a step is 0 along an axis an operand is repeated on. */
typedef struct {
    uint32_t extent[FIRNLINE_AXES];
    uint32_t left[FIRNLINE_AXES];
    uint32_t right[FIRNLINE_AXES];
} firnline_broadcast;

typedef enum {
    FIRNLINE_ADD,
    FIRNLINE_SUB,
    FIRNLINE_MUL,
    FIRNLINE_DIV,
    FIRNLINE_MIN,
    FIRNLINE_MAX,
    FIRNLINE_GREATER,
    FIRNLINE_EQUAL
} firnline_binary;

/* min and max give b where either operand is NaN. */
FIRNLINE_INLINE float firnline_binary_one(firnline_binary kind, float a, float b)
{
    float result;
    switch (kind) {
    case FIRNLINE_ADD:
        result = a + b;
        break;
    case FIRNLINE_SUB:
        result = a - b;
        break;
    case FIRNLINE_MUL:
        result = a * b;
        break;
    case FIRNLINE_DIV:
        result = firnline_quotient(a, b);
        break;
    case FIRNLINE_MIN:
        result = (a < b) ? a : b;
        break;
    case FIRNLINE_MAX:
        result = (a > b) ? a : b;
        break;
    case FIRNLINE_GREATER:
        result = (a > b) ? 1.0f : 0.0f;
        break;
    default:
        result = (a == b) ? 1.0f : 0.0f;
        break;
    }
    return result;
}

/* y may be an operand that is not repeated. */
FIRNLINE_INLINE void firnline_binary_each(firnline_binary kind, const firnline_broadcast *how,
                                          const float *a, const float *b, float *y)
{
    uint32_t index[FIRNLINE_AXES] = {0u};
    uint32_t made = 0u;
    do {
        uint32_t left = firnline_element(how->left, index);
        uint32_t right = firnline_element(how->right, index);
        for (uint32_t i = 0u; i < how->extent[FIRNLINE_LAST_AXIS]; i++) {
            y[made] = firnline_binary_one(kind, a[left], b[right]);
            made++;
            left += how->left[FIRNLINE_LAST_AXIS];
            right += how->right[FIRNLINE_LAST_AXIS];
        }
    } while (firnline_next(how->extent, index) != 0u);
}

#define FIRNLINE_BINARY(name, kind)                                                                \
    FIRNLINE_KERNEL void firnline_float_##name(const firnline_broadcast *how, const float *a,      \
                                               const float *b, float *y)                           \
    {                                                                                              \
        firnline_binary_each(kind, how, a, b, y);                                                  \
    }
FIRNLINE_BINARY(add, FIRNLINE_ADD)
FIRNLINE_BINARY(sub, FIRNLINE_SUB)
FIRNLINE_BINARY(mul, FIRNLINE_MUL)
FIRNLINE_BINARY(div, FIRNLINE_DIV)
FIRNLINE_BINARY(min, FIRNLINE_MIN)
FIRNLINE_BINARY(max, FIRNLINE_MAX)
FIRNLINE_BINARY(greater, FIRNLINE_GREATER)
FIRNLINE_BINARY(equal, FIRNLINE_EQUAL)
#undef FIRNLINE_BINARY

/* One operand; y may be x. */

FIRNLINE_KERNEL void firnline_float_relu(uint32_t length, const float *x, float *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = (x[i] > 0.0f) ? x[i] : 0.0f;
    }
}

FIRNLINE_KERNEL void firnline_float_neg(uint32_t length, const float *x, float *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = -x[i];
    }
}

FIRNLINE_KERNEL void firnline_float_abs(uint32_t length, const float *x, float *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = firnline_abs(x[i]);
    }
}

FIRNLINE_KERNEL void firnline_float_sqrt(uint32_t length, const float *x, float *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = firnline_sqrt(x[i]);
    }
}

FIRNLINE_KERNEL void firnline_float_exp(uint32_t length, const float *x, float *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = firnline_exp(x[i]);
    }
}

FIRNLINE_KERNEL void firnline_float_sigmoid(uint32_t length, const float *x, float *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = firnline_sigmoid(x[i]);
    }
}

FIRNLINE_KERNEL void firnline_float_tanh(uint32_t length, const float *x, float *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = firnline_tanh(x[i]);
    }
}

/* fill where x is NaN; fill begins anew every `period` elements. y may be x. */
FIRNLINE_KERNEL void firnline_impute(const float *fill, uint32_t period, uint32_t length,
                                     const float *x, float *y)
{
    uint32_t place = 0u;
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = (x[i] != x[i]) ? fill[place] : x[i];
        place = ((place + 1u) < period) ? (place + 1u) : 0u;
    }
}

/* Chosen places of every row of x. */
FIRNLINE_KERNEL void firnline_gather(const uint16_t *places, uint32_t count, uint32_t rows,
                                     uint32_t width, const float *x, float *y)
{
    for (uint32_t row = 0u; row < rows; row++) {
        for (uint32_t i = 0u; i < count; i++) {
            y[i] = x[places[i]];
        }
        x = &x[width];
        y = &y[count];
    }
}

#endif
