/* Rows of many channels gathered into cells of an even grid: operators/align/coarse_grid.py has
   the rules; this is their compiled form. */
#include "native.h"

enum { LANE, CELL, COUNT, PLACE, VALUE, COLUMNS };

/* A stretch: cell c of lane i is number i * width + c - first of its grid. */
typedef struct {
    int64_t lanes, width;
    double first;
    const int64_t *held;
} Stretch;

/* Add rows to the cells; a cell of a held lane has the row of its latest place, the last of equal
   ones. */
static bool add_rows(const double *part, Py_ssize_t n, const Stretch *s, double *count,
                     double *place, double *value)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        double number = part[CELL * n + i] - s->first, lane = part[LANE * n + i];
        if (!(number >= 0 && number < (double)s->width))
            continue;
        if (!(lane >= 0 && lane < (double)s->lanes))
            return false;
        int64_t at = (int64_t)lane * s->width + (int64_t)number;
        double rows = part[COUNT * n + i], within = part[PLACE * n + i];
        if (!s->held[(int64_t)lane]) {
            count[at] += rows;
            place[at] += within;
            value[at] += part[VALUE * n + i];
        } else if (count[at] == 0 || within >= place[at]) {
            count[at] = rows;
            place[at] = within;
            value[at] = part[VALUE * n + i];
        }
    }
    return true;
}

/* Move the rows from cell `later` on to the front, (COLUMNS, kept); return their number. */
static Py_ssize_t keep_rows(double *part, Py_ssize_t n, double later, unsigned char *mark)
{
    Py_ssize_t kept = 0;
    for (Py_ssize_t i = 0; i < n; i++)
        kept += mark[i] = part[CELL * n + i] >= later;
    /* Rows that are kept lie in a few runs; a column is never moved over one that follows. */
    double *to = part;
    for (int column = 0; column < COLUMNS; column++)
        for (Py_ssize_t i = 0, stop; i < n; i = stop) {
            const unsigned char *found = memchr(mark + i, 1, (size_t)(n - i));
            if (!found)
                break;
            i = found - mark;
            found = memchr(mark + i, 0, (size_t)(n - i));
            stop = found ? found - mark : n;
            memmove(to, part + column * n + i, (size_t)(stop - i) * 8);
            to += stop - i;
        }
    return kept;
}

PyObject *lumen_cells(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *part_of, *held_of, *edge_of, *at_of, *value_of, *out = NULL;
    long long first, later, width;
    int fine, before;
    if (!PyArg_ParseTuple(args, "OLLLiiOOOO", &part_of, &first, &later, &width, &fine, &before,
                          &held_of, &edge_of, &at_of, &value_of))
        return NULL;
    Py_ssize_t lanes = PyObject_Size(held_of), room = PyObject_Size(at_of);
    if (lanes < 0 || room < 0)
        return NULL;
    if (lanes < 1 || width < 1 || fine < 1 || width > PY_SSIZE_T_MAX / 32 / lanes)
        return PyErr_Format(PyExc_ValueError, "%zd lanes of %lld cells", lanes, width);
    Py_buffer part, held, edge, at, value;
    if (PyObject_GetBuffer(part_of, &part, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE) < 0)
        return NULL;
    if (part.ndim != 2 || part.shape[0] != COLUMNS || part.itemsize != 8 || !part.format
        || strcmp(part.format, "d")) {
        PyErr_SetString(PyExc_ValueError, "a part has five columns of float64");
        goto free_part;
    }
    if (!take_buffer(held_of, 'q', false, lanes, &held))
        goto free_part;
    if (!take_buffer(edge_of, 'q', true, lanes + 1, &edge))
        goto free_held;
    if (!take_buffer(at_of, 'd', true, room, &at))
        goto free_edge;
    if (!take_buffer(value_of, 'd', true, room, &value))
        goto free_at;
    Py_ssize_t n = part.shape[1], size = lanes * (Py_ssize_t)width;
    const Stretch stretch = {lanes, width, (double)first, held.buf};
    double *sums = PyMem_Calloc((size_t)(3 * size), sizeof *sums);
    unsigned char *mark = PyMem_Malloc((size_t)n + 1);
    if (!sums || !mark) {
        PyErr_NoMemory();
        goto free_sums;
    }
    double *count = sums, *place = sums + size, *total = sums + 2 * size;
    if (!add_rows(part.buf, n, &stretch, count, place, total)) {
        PyErr_SetString(PyExc_ValueError, "a row of no lane");
        goto free_sums;
    }
    Py_ssize_t full = 0;
    for (Py_ssize_t lane = 0; lane < lanes; lane++) {
        ((int64_t *)edge.buf)[lane] = full;
        for (Py_ssize_t c = 0; c < width; c++) {
            Py_ssize_t i = lane * (Py_ssize_t)width + c;
            if (count[i] == 0)
                continue;
            if (full == room) {
                PyErr_SetString(PyExc_ValueError, "more cells than room for them");
                goto free_sums;
            }
            ((double *)at.buf)[full] = ((double)c + place[i] / count[i]) / fine - before;
            ((double *)value.buf)[full++] = total[i] / count[i];
        }
    }
    ((int64_t *)edge.buf)[lanes] = full;
    out = PyLong_FromSsize_t(keep_rows(part.buf, n, (double)later, mark));
free_sums:
    PyMem_Free(mark);
    PyMem_Free(sums);
    PyBuffer_Release(&value);
free_at:
    PyBuffer_Release(&at);
free_edge:
    PyBuffer_Release(&edge);
free_held:
    PyBuffer_Release(&held);
free_part:
    PyBuffer_Release(&part);
    return out;
}
