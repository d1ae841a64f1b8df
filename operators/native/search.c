/* Places of numbers in a rising array: operators/numeric/search.py has the Python form. */
#include "native.h"

/* Order of numpy: NaN is greater than every number. */
static inline bool is_less(double a, double b)
{
    return a < b || (b != b && a == a);
}

/* Return the first place in [from, n) whose number is not before x. */
static Py_ssize_t place_of(const double *rising, Py_ssize_t from, Py_ssize_t n, double x, bool right)
{
    Py_ssize_t step = 1, to = from;
    while (to < n && (right ? !is_less(x, rising[to]) : is_less(rising[to], x))) {
        from = to + 1;
        to = n - to > step ? to + step : n;
        step *= 2;
    }
    while (from < to) {
        Py_ssize_t middle = from + (to - from) / 2;
        if (right ? !is_less(x, rising[middle]) : is_less(rising[middle], x))
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

PyObject *lumen_search(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *rising_of, *at_of, *out_of, *out = NULL;
    int right;
    if (!PyArg_ParseTuple(args, "OOpO", &rising_of, &at_of, &right, &out_of))
        return NULL;
    Py_ssize_t n = PyObject_Size(rising_of), k = PyObject_Size(at_of);
    if (n < 0 || k < 0)
        return NULL;
    Py_buffer rising, at, places;
    if (!take_buffer(rising_of, 'd', false, n, &rising))
        return NULL;
    if (!take_buffer(at_of, 'd', false, k, &at))
        goto free_rising;
    if (!take_buffer(out_of, 'q', true, k, &places))
        goto free_at;
    const double *x = at.buf;
    int64_t *place = places.buf;
    for (Py_ssize_t i = 0; i < k; i++) {
        /* Numbers that do not fall continue where the one before ended. */
        Py_ssize_t from = i && !is_less(x[i], x[i - 1]) ? (Py_ssize_t)place[i - 1] : 0;
        place[i] = place_of(rising.buf, from, n, x[i], right);
    }
    out = Py_NewRef(Py_None);
    PyBuffer_Release(&places);
free_at:
    PyBuffer_Release(&at);
free_rising:
    PyBuffer_Release(&rising);
    return out;
}
