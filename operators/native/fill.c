/* Kernel averages of the cells of many channels: operators/align/coarse_grid.py has the formula;
   this is its compiled form. */
#include "native.h"
#include <math.h>

#define FARTHEST 1e15

/* Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, ties to even. */
static const double TO_INTEGER = 6755399441055744.0;

typedef struct {
    const double *bank;
    int bits;
    int64_t width, ticks;
    double margin;
} Grid;

static int64_t floor_of(double x)
{
    int64_t whole = (int64_t)x;
    return whole - ((double)whole > x);
}

static void empty(const Grid *g, double *row, double left, double right)
{
    double a = left - g->margin, b = right + g->margin;
    if (!(a < (double)(g->ticks - 1) && b > 0))
        return;
    int64_t from = floor_of(a < -1.0 ? -1.0 : a) + 1;
    int64_t to = -floor_of(b < (double)g->ticks ? -b : -(double)g->ticks);
    for (int64_t t = from; t < to; t++)
        row[t] = NAN;
}

/* Write one channel: `below` is scratch of `ticks` numbers. Return whether all cells are near. */
static bool fill_row(const Grid *g, const double *at, const double *value, Py_ssize_t n,
                     double widest, double *below, double *row)
{
    memset(below, 0, (size_t)g->ticks * 8);
    memset(row, 0, (size_t)g->ticks * 8);
    double before = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        double place = at[i] * (double)((int64_t)1 << g->bits);
        if (!(place > -FARTHEST && place < FARTHEST))
            return false;
        double after = i + 1 < n ? at[i + 1] - at[i] : 0;
        after = after > widest ? 0 : after;
        double cell = after + before;
        before = after;
        int64_t node = (int64_t)((place + TO_INTEGER) - TO_INTEGER);
        /* Column q belongs to the tick q - width / 2 + 1 after the cell's own tick. */
        int64_t base = (node >> g->bits) - g->width / 2 + 1;
        int64_t first = base < 0 ? 0 : base;
        int64_t stop = base > g->ticks - g->width ? g->ticks : base + g->width;
        const double *taps = g->bank + (node & (((int64_t)1 << g->bits) - 1)) * g->width;
        for (int64_t t = first; t < stop; t++) {
            double weight = taps[t - base] * cell;
            below[t] += weight;
            row[t] += weight * value[i];
        }
    }
    for (int64_t t = 0; t < g->ticks; t++)
        row[t] = below[t] > 0 ? row[t] / below[t] : NAN;
    for (Py_ssize_t i = 1; i < n; i++)
        if (at[i] - at[i - 1] > widest)
            empty(g, row, at[i - 1], at[i]);
    if (n) {
        empty(g, row, -INFINITY, at[0]);
        empty(g, row, at[n - 1], INFINITY);
    }
    return true;
}

PyObject *lumen_fill(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *bank_of, *at_of, *value_of, *edge_of, *widest_of, *out_of, *done = NULL;
    Grid grid;
    if (!PyArg_ParseTuple(args, "OiOOOOdO", &bank_of, &grid.bits, &at_of, &value_of, &edge_of,
                          &widest_of, &grid.margin, &out_of))
        return NULL;
    Py_ssize_t n = PyObject_Size(at_of), lanes = PyObject_Size(widest_of);
    Py_ssize_t rows = PyObject_Size(out_of);
    if (n < 0 || lanes < 0 || rows < 0)
        return NULL;
    Py_buffer bank, out, at, value, edge, widest;
    double *below = NULL;
    if (PyObject_GetBuffer(bank_of, &bank, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return NULL;
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE;
    if (PyObject_GetBuffer(out_of, &out, flags) < 0)
        goto free_bank;
    if (grid.bits < 1 || grid.bits > 30 || bank.ndim != 2
        || bank.shape[0] != (Py_ssize_t)1 << grid.bits || bank.itemsize != 8 || !bank.format
        || strcmp(bank.format, "d")) {
        PyErr_SetString(PyExc_ValueError, "a bank has 2^bits rows of float64");
        goto free_out;
    }
    if (out.ndim != 2 || rows != lanes || out.itemsize != 8 || !out.format
        || strcmp(out.format, "d")) {
        PyErr_SetString(PyExc_ValueError, "the output has a row of float64 for each lane");
        goto free_out;
    }
    if (!take_buffer(at_of, 'd', false, n, &at))
        goto free_out;
    if (!take_buffer(value_of, 'd', false, n, &value))
        goto free_at;
    if (!take_buffer(edge_of, 'q', false, lanes + 1, &edge))
        goto free_value;
    if (!take_buffer(widest_of, 'd', false, lanes, &widest))
        goto free_edge;
    grid.bank = bank.buf;
    grid.width = bank.shape[1];
    grid.ticks = out.shape[1];
    below = PyMem_Malloc((size_t)grid.ticks * 8 + 1);
    if (!below) {
        PyErr_NoMemory();
        goto free_widest;
    }
    const int64_t *edges = edge.buf;
    for (Py_ssize_t lane = 0; lane < lanes; lane++) {
        int64_t a = edges[lane], b = edges[lane + 1];
        if (a < 0 || b < a || b > n
            || !fill_row(&grid, (const double *)at.buf + a, (const double *)value.buf + a,
                         (Py_ssize_t)(b - a), ((const double *)widest.buf)[lane], below,
                         (double *)out.buf + lane * grid.ticks)) {
            PyErr_SetString(PyExc_ValueError, "a cell of no lane or beyond the grid");
            goto free_widest;
        }
    }
    done = Py_NewRef(Py_None);
free_widest:
    PyMem_Free(below);
    PyBuffer_Release(&widest);
free_edge:
    PyBuffer_Release(&edge);
free_value:
    PyBuffer_Release(&value);
free_at:
    PyBuffer_Release(&at);
free_out:
    PyBuffer_Release(&out);
free_bank:
    PyBuffer_Release(&bank);
    return done;
}
