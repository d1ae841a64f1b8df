/* Sums of kernel-weighted samples on a grid: operators/numeric/sinc.py has the formula. */
#include "native.h"

#define MAX_BANKS 4096
#define AHEAD 8 /* samples from the one that is summed to the one whose weights are fetched */

/* Sum the samples `from` to `to` of a run of ticks, from tick a to b - 1. */
static void sum_run(const double *bank, int64_t width, int bits, const int64_t *node,
                    const double *cell, const double *value, int64_t from, int64_t to,
                    const int64_t *known, int64_t a, int64_t b, double *restrict below,
                    double *restrict top)
{
    const int64_t mask = ((int64_t)1 << bits) - 1;
    memset(below + a, 0, (size_t)(b - a) * 8);
    memset(top + a, 0, (size_t)(b - a) * 8);
    for (int64_t i = from; i < to; i++) {
        if (i + AHEAD < to) {
            const double *next = bank + (node[i + AHEAD] & mask) * width;
            for (int64_t q = 0; q < width; q += 8)
                __builtin_prefetch(next + q);
        }
        if (known)
            for (; a < b && known[a] <= i; a++)
                ;
        /* Column q belongs to the tick q - width / 2 + 1 after the sample's own tick. */
        int64_t base = (node[i] >> bits) - width / 2 + 1;
        int64_t first = base < a ? a : base, end = base > b - width ? b : base + width;
        const double *row = bank + (node[i] & mask) * width;
        double area = cell[i], x = value[i];
        for (int64_t t = first; t < end; t++) {
            double weight = row[t - base] * area;
            below[t] += weight;
            top[t] += weight * x;
        }
    }
}

PyObject *lumen_spread_runs(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *banks, *runs_of, *node_of, *cell_of, *value_of, *known_of, *below_of, *top_of;
    int bits;
    if (!PyArg_ParseTuple(args, "O!iOOOOOOO", &PyTuple_Type, &banks, &bits, &runs_of, &node_of,
                          &cell_of, &value_of, &known_of, &below_of, &top_of))
        return NULL;
    Py_ssize_t n = PyObject_Size(node_of), k = PyObject_Size(below_of);
    Py_ssize_t r = PyObject_Size(runs_of), count = PyTuple_Size(banks);
    if (n < 0 || k < 0 || r < 0)
        return NULL;
    if (bits < 1 || bits > 30 || count > MAX_BANKS)
        return PyErr_Format(PyExc_ValueError, "%zd banks of 2^%d rows", count, bits);
    Py_buffer taken[7], *bank = PyMem_Calloc((size_t)count + 1, sizeof *bank);
    int held = 0;
    Py_ssize_t opened = 0;
    PyObject *out = NULL;
    if (!bank)
        return PyErr_NoMemory();
    const struct {
        PyObject *from;
        char type;
        Py_ssize_t size;
    } wanted[] = {{runs_of, 'q', 5 * r}, {node_of, 'q', n}, {cell_of, 'd', n}, {value_of, 'd', n},
                  {below_of, 'd', k}, {top_of, 'd', k}, {known_of, 'q', k}};
    for (int j = 0; j < 7; j++) {
        if (j == 6 && known_of == Py_None)
            break;
        if (!take_buffer(wanted[j].from, wanted[j].type, j == 4 || j == 5, wanted[j].size,
                         taken + held))
            goto done;
        held++;
    }
    for (; opened < count; opened++) {
        Py_buffer *one = bank + opened;
        if (PyObject_GetBuffer(PyTuple_GetItem(banks, opened), one,
                               PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
            goto done;
        if (one->ndim != 2 || one->shape[0] != (Py_ssize_t)1 << bits || one->itemsize != 8
            || !one->format || strcmp(one->format, "d")) {
            PyErr_SetString(PyExc_ValueError, "a bank has 2^bits rows of float64");
            opened++;
            goto done;
        }
    }
    const int64_t *known = known_of == Py_None ? NULL : taken[6].buf;
    for (Py_ssize_t j = 0; j < r; j++) {
        const int64_t *run = (const int64_t *)taken[0].buf + 5 * j;
        if (run[0] < 0 || run[0] > run[1] || run[1] > k || run[2] < 0 || run[2] >= count
            || run[3] < 0 || run[3] > n || run[4] > n) {
            PyErr_SetString(PyExc_ValueError, "a run exceeds the ticks, samples or banks");
            goto done;
        }
        sum_run(bank[run[2]].buf, bank[run[2]].shape[1], bits, taken[1].buf, taken[2].buf,
                taken[3].buf, run[3], run[4], known, run[0], run[1], taken[4].buf, taken[5].buf);
    }
    out = Py_NewRef(Py_None);
done:
    while (opened)
        PyBuffer_Release(bank + --opened);
    while (held)
        PyBuffer_Release(taken + --held);
    PyMem_Free(bank);
    return out;
}
