/* Kalman filter and smoother of several motions of a lag: operators/align/lag_trend.py has the
   formula; this is its compiled form. */
#include "native.h"

#define MAX_ROWS 65536

/* Rows of the state, a column a motion: mean of lag and rate, their covariance. */
enum { LAG, RATE, VAR, CROSS, RATE_VAR, STATES };

static void move(double *x, Py_ssize_t k, double dt, const double *walk, const double *drift)
{
    double half = dt * dt / 2, third = dt * dt * dt / 3;
    double *lag = x + LAG * k, *rate = x + RATE * k, *var = x + VAR * k, *cross = x + CROSS * k,
           *rate_var = x + RATE_VAR * k;
    for (Py_ssize_t j = 0; j < k; j++) {
        lag[j] += dt * rate[j];
        var[j] += dt * (2 * cross[j] + dt * rate_var[j]) + (walk[j] * dt + drift[j] * third);
        cross[j] += dt * rate_var[j] + drift[j] * half;
        rate_var[j] += drift[j] * dt;
    }
}

PyObject *lumen_trend(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *from[10];
    double ahead, level;
    if (!PyArg_ParseTuple(args, "OOOddOOOOOOO", from, from + 1, from + 2, &ahead, &level, from + 3,
                          from + 4, from + 5, from + 6, from + 7, from + 8,
                          from + 9))
        return NULL;
    Py_ssize_t m = PyObject_Size(from[0]), k = PyObject_Size(from[3]);
    if (m < 0 || k < 0)
        return NULL;
    if (m > MAX_ROWS || k > MAX_ROWS)
        return PyErr_Format(PyExc_ValueError, "%zd readings of %zd motions", m, k);
    const Py_ssize_t size[10] = {m, m, m, k, k, k, STATES * k, m * k, m * k, m * k};
    Py_buffer taken[10];
    int held = 0;
    PyObject *out = NULL;
    double *scratch = NULL;
    for (; held < 10; held++)
        if (!take_buffer(from[held], 'd', held > 5, size[held], taken + held))
            goto done;
    const double *dt = taken[0].buf, *lag = taken[1].buf, *noise = taken[2].buf;
    const double *walk = taken[3].buf, *rate = taken[4].buf, *drift = taken[5].buf;
    double *x = taken[6].buf, *spread = taken[7].buf, *off = taken[8].buf, *path = taken[9].buf;
    /* Variances after each reading, and the two sums of the way back. */
    scratch = PyMem_Calloc((size_t)(2 * m * k + 2 * k) + 1, sizeof *scratch);
    if (!scratch) {
        PyErr_NoMemory();
        goto done;
    }
    double *var = scratch, *cross = var + m * k, *g = cross + m * k, *h = g + k;
    memset(x, 0, (size_t)(STATES * k) * 8);
    for (Py_ssize_t j = 0; j < k; j++) {
        x[VAR * k + j] = level;
        x[RATE_VAR * k + j] = rate[j];
    }
    for (Py_ssize_t i = 0; i < m; i++) {
        move(x, k, dt[i], walk, drift);
        for (Py_ssize_t j = 0; j < k; j++) {
            Py_ssize_t at = i * k + j;
            double s = x[VAR * k + j] + noise[i], e = (lag[i] - x[LAG * k + j]) / s;
            double rest = noise[i] / s, c = x[CROSS * k + j];
            spread[at] = s;
            off[at] = e;
            x[LAG * k + j] += x[VAR * k + j] * e;
            x[RATE * k + j] += c * e;
            x[RATE_VAR * k + j] -= c * c / s;
            var[at] = x[VAR * k + j] *= rest;
            cross[at] = x[CROSS * k + j] = c * rest;
            path[at] = x[LAG * k + j];
        }
    }
    /* Backwards: g and h are what the later readings add to lag and rate. */
    for (Py_ssize_t i = m - 1; i > 0; i--)
        for (Py_ssize_t j = 0; j < k; j++) {
            Py_ssize_t at = i * k + j;
            double rest = noise[i] / spread[at];
            double r = g[j] * rest - cross[at] / noise[i] * h[j] + off[at];
            h[j] += r * dt[i];
            g[j] = r;
            path[at - k] += var[at - k] * g[j] + cross[at - k] * h[j];
        }
    move(x, k, ahead, walk, drift);
    out = Py_NewRef(Py_None);
done:
    PyMem_Free(scratch);
    while (held)
        PyBuffer_Release(taken + --held);
    return out;
}
