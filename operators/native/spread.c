/* Sums of kernel-weighted samples on a grid: operators/numeric/sinc.py has the formula. */
#include "native.h"

PyObject *lumen_spread(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *bank_of, *node_of, *cell_of, *value_of, *first_of, *below_of, *top_of;
    int bits;
    if (!PyArg_ParseTuple(args, "OiOOOOOO", &bank_of, &bits, &node_of, &cell_of, &value_of,
                          &first_of, &below_of, &top_of))
        return NULL;
    Py_ssize_t n = PyObject_Size(node_of), k = PyObject_Size(below_of);
    if (n < 0 || k < 0)
        return NULL;
    Py_buffer taken[7];
    int held = 0;
    PyObject *out = NULL;
    const struct {
        PyObject *from;
        char type;
        Py_ssize_t size;
    } wanted[] = {{node_of, 'q', n}, {cell_of, 'd', n}, {value_of, 'd', n}, {below_of, 'd', k},
                  {top_of, 'd', k}, {first_of, 'q', n}};
    for (int j = 0; j < 6; j++) {
        if (j == 5 && first_of == Py_None)
            break;
        if (!take_buffer(wanted[j].from, wanted[j].type, j == 3 || j == 4, wanted[j].size,
                         taken + held))
            goto done;
        held++;
    }
    Py_buffer *bank = taken + held;
    if (PyObject_GetBuffer(bank_of, bank, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        goto done;
    held++;
    if (bits < 1 || bits > 30 || bank->ndim != 2 || bank->shape[0] != (Py_ssize_t)1 << bits
        || bank->itemsize != 8 || !bank->format || strcmp(bank->format, "d")) {
        PyErr_SetString(PyExc_ValueError, "a bank has 2^bits rows of float64");
        goto done;
    }
    const int64_t *node = taken[0].buf, *first = first_of == Py_None ? NULL : taken[5].buf;
    const double *cell = taken[1].buf, *value = taken[2].buf;
    double *below = taken[3].buf, *top = taken[4].buf;
    const int64_t width = bank->shape[1], mask = ((int64_t)1 << bits) - 1;
    memset(below, 0, (size_t)k * 8);
    memset(top, 0, (size_t)k * 8);
    for (Py_ssize_t i = 0; i < n; i++) {
        /* Column q belongs to the tick q - width / 2 + 1 after the sample's own tick. */
        int64_t base = (node[i] >> bits) - width / 2 + 1;
        int64_t a = base < 0 ? 0 : base, b = base > k - width ? k : base + width;
        if (first && first[i] > a)
            a = first[i];
        const double *row = (const double *)bank->buf + (node[i] & mask) * width;
        for (int64_t t = a; t < b; t++) {
            double weight = row[t - base] * cell[i];
            below[t] += weight;
            top[t] += weight * value[i];
        }
    }
    out = Py_NewRef(Py_None);
done:
    while (held)
        PyBuffer_Release(taken + --held);
    return out;
}
