/* Lines that differ in their numbers only: the text of a layout agrees byte for byte, its numbers
   are plain decimals. sources/rows/columns.py has the rules; this is its compiled form. */
#include "native.h"

#define SLOTS 4
#define MAX_LAYOUTS 256
#define MAX_NUMBERS 16
#define MAX_DIGITS 16

/* Below this, digits m and 10^k are exact in float64, and m / 10^k is rounded correctly. */
static const uint64_t EXACT = UINT64_C(9000000000000000);
static const double SCALE[MAX_DIGITS + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
                                             1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16};

typedef struct {
    Py_ssize_t numbers;
    const char *piece[MAX_NUMBERS + 1];
    Py_ssize_t size[MAX_NUMBERS + 1];
    int slot[MAX_NUMBERS];
    bool pointed[MAX_NUMBERS];
    int like; /* the first layout with the same text before and form of the first number */
} Layout;

/* The beginning of a line as a layout reads it, up to the end of the first number. */
typedef struct {
    int like; /* -1: none has been read */
    const char *at;
    double x;
} Beginning;

/* Read digits before `stop`, continuing `m`; return NULL where the parser has to decide. */
static const char *digits(const char *at, const char *stop, uint64_t *m)
{
    const char *most = stop - at > MAX_DIGITS ? at + MAX_DIGITS : stop;
    for (; at < most && (unsigned char)(*at - '0') <= 9; at++) {
        *m = 10 * *m + (uint64_t)(*at - '0');
        if (*m >= EXACT)
            return NULL;
    }
    return at < stop && (unsigned char)(*at - '0') <= 9 ? NULL : at;
}

static const char *number(const char *at, const char *stop, bool pointed, double *x)
{
    bool negative = at < stop && *at == '-';
    const char *first = at += negative;
    uint64_t m = 0;
    at = digits(at, stop, &m);
    if (!at || at == first || (*first == '0' && at - first > 1))
        return NULL;
    double value;
    if (pointed) {
        if (at == stop || *at != '.')
            return NULL;
        first = ++at;
        at = digits(at, stop, &m);
        if (!at || at == first)
            return NULL;
        value = (double)m / SCALE[at - first];
    } else {
        value = (double)m;
    }
    if (negative && m == 0)
        return NULL;
    *x = negative ? -value : value;
    return at;
}

static bool fits(const Layout *layout, const char *at, const char *stop, double x[],
                 Beginning *known)
{
    Py_ssize_t j = 0;
    if (layout->numbers) {
        if (known->like != layout->like) {
            Py_ssize_t size = layout->size[0];
            known->like = layout->like;
            known->at = NULL;
            if (stop - at >= size && !memcmp(at, layout->piece[0], (size_t)size))
                known->at = number(at + size, stop, layout->pointed[0], &known->x);
        }
        if (!known->at)
            return false;
        at = known->at;
        x[0] = known->x;
        j = 1;
    }
    for (; j <= layout->numbers; j++) {
        Py_ssize_t size = layout->size[j];
        if (stop - at < size || memcmp(at, layout->piece[j], (size_t)size))
            return false;
        at += size;
        if (j == layout->numbers)
            break;
        at = number(at, stop, layout->pointed[j], x + j);
        if (!at)
            return false;
    }
    return at == stop;
}

/* Whether two layouts begin alike, up to their second piece. */
static bool alike(const Layout *a, const Layout *b)
{
    return a->numbers && b->numbers && a->pointed[0] == b->pointed[0]
        && a->size[0] == b->size[0] && !memcmp(a->piece[0], b->piece[0], (size_t)a->size[0]);
}

/* Set a layout from (pieces, slots, whether each number has a point). */
static bool layout_of(PyObject *from, Layout *to)
{
    PyObject *pieces, *slots, *pointed;
    if (!PyArg_ParseTuple(from, "O!O!O!", &PyTuple_Type, &pieces, &PyTuple_Type, &slots,
                          &PyTuple_Type, &pointed))
        return false;
    to->numbers = PyTuple_Size(slots);
    if (to->numbers > MAX_NUMBERS || PyTuple_Size(pieces) != to->numbers + 1
        || PyTuple_Size(pointed) != to->numbers) {
        PyErr_SetString(PyExc_ValueError, "a layout of the wrong shape");
        return false;
    }
    for (Py_ssize_t j = 0; j <= to->numbers; j++) {
        char *bytes;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(pieces, j), &bytes, to->size + j) < 0)
            return false;
        to->piece[j] = bytes;
        if (j == to->numbers)
            break;
        long slot = PyLong_AsLong(PyTuple_GetItem(slots, j));
        int point = PyObject_IsTrue(PyTuple_GetItem(pointed, j));
        if (PyErr_Occurred())
            return false;
        if (slot < -1 || slot >= SLOTS) {
            PyErr_SetString(PyExc_ValueError, "a number of no column");
            return false;
        }
        to->slot[j] = (int)slot;
        to->pointed[j] = point > 0;
    }
    return true;
}

/* Read the lines of a text; return their number, empty ones left out. */
static Py_ssize_t read_lines(const char *text, Py_ssize_t size, const Layout *layouts, int count,
                             Py_ssize_t room, int64_t *start, int64_t *stop, int32_t *which,
                             double *columns)
{
    Py_ssize_t n = 0;
    int after[MAX_LAYOUTS + 1] = {0}; /* the layout that last followed each one */
    int last = count;
    double x[MAX_NUMBERS];
    for (const char *at = text, *end; at < text + size; at = end + 1) {
        end = memchr(at, '\n', (size_t)(text + size - at));
        if (!end)
            break;
        if (end == at || (end == at + 1 && *at == '\r'))
            continue;
        if (n == room)
            return -1;
        int found = -1;
        Beginning known = {-1, NULL, 0.0};
        for (int j = -1; j < count; j++) {
            int layout = j < 0 ? after[last] : j;
            if (fits(layouts + layout, at, end, x, &known)) {
                found = layout;
                break;
            }
        }
        if (found >= 0) {
            after[last] = found;
            last = found;
            for (Py_ssize_t j = 0; j < layouts[found].numbers; j++)
                if (layouts[found].slot[j] >= 0)
                    columns[layouts[found].slot[j] * room + n] = x[j];
        }
        start[n] = at - text;
        stop[n] = end - text;
        which[n++] = found;
    }
    return n;
}

PyObject *lumen_fit(PyObject *self, PyObject *args)
{
    (void)self;
    const char *text;
    Py_ssize_t size;
    PyObject *layouts_of, *start_of, *stop_of, *which_of, *columns_of, *out = NULL;
    if (!PyArg_ParseTuple(args, "y#O!OOOO", &text, &size, &PyTuple_Type, &layouts_of, &start_of,
                          &stop_of, &which_of, &columns_of))
        return NULL;
    Py_ssize_t count = PyTuple_Size(layouts_of), room = PyObject_Size(which_of);
    if (room < 0)
        return NULL;
    if (count < 1 || count > MAX_LAYOUTS)
        return PyErr_Format(PyExc_ValueError, "1 to %d layouts, not %zd", MAX_LAYOUTS, count);
    Py_buffer start, stop, which, columns;
    Layout *layouts = PyMem_Calloc((size_t)count, sizeof *layouts);
    if (!layouts)
        return PyErr_NoMemory();
    for (int j = 0; j < (int)count; j++) {
        if (!layout_of(PyTuple_GetItem(layouts_of, j), layouts + j))
            goto free_layouts;
        while (layouts[j].like < j && !alike(layouts + layouts[j].like, layouts + j))
            layouts[j].like++;
    }
    if (!take_buffer(start_of, 'q', true, room, &start))
        goto free_layouts;
    if (!take_buffer(stop_of, 'q', true, room, &stop))
        goto free_start;
    if (!take_buffer(which_of, 'i', true, room, &which))
        goto free_stop;
    if (!take_buffer(columns_of, 'd', true, SLOTS * room, &columns))
        goto free_which;
    Py_ssize_t n = read_lines(text, size, layouts, (int)count, room, start.buf, stop.buf,
                              which.buf, columns.buf);
    if (n < 0)
        PyErr_SetString(PyExc_ValueError, "more lines than room for them");
    else
        out = PyLong_FromSsize_t(n);
    PyBuffer_Release(&columns);
free_which:
    PyBuffer_Release(&which);
free_stop:
    PyBuffer_Release(&stop);
free_start:
    PyBuffer_Release(&start);
free_layouts:
    PyMem_Free(layouts);
    return out;
}
