/* The rows of a channel that are final, and those that differ from their neighbours:
   operators/guard/guard.py and hampel.py have the formulas. */
#include "native.h"

#define SIDE 5
#define MIN_SIGMAS 4.0
#define SPIKE 11.0

static double larger(double x, double y) { return y > x ? y : x; }
static double smaller(double x, double y) { return y < x ? y : x; }

/* Return sample i of the five before the rows, at -5 to -1, and of the rows. */
static double sample(const double *past, const double *value, Py_ssize_t i)
{
    return i < 0 ? past[SIDE + i] : value[i];
}

/* Return whether row i of n is far from half of its window, or from both neighbours. */
static bool is_suspect(const double *past, const double *value, Py_ssize_t i, Py_ssize_t n,
                       int after, double least)
{
    const double here = value[i], far = MIN_SIGMAS * least, apart = SPIKE / 2 * least;
    const int half = (SIDE + after + 2) >> 1;
    int below = 0, above = 0;
    for (Py_ssize_t k = i - SIDE; k <= i + after; k++) {
        double x = sample(past, value, k);
        below += x < here - far;
        above += x > here + far;
    }
    if (below >= half || above >= half)
        return true;
    if (i + 1 == n)
        return false;
    double left = sample(past, value, i - 1), right = value[i + 1];
    return here - larger(left, right) > apart || smaller(left, right) - here > apart;
}

PyObject *lumen_decide(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *time_of, *mark_of, *value_of, *past_of, *scale_of, *moment_of;
    double settle, reach, known, ready;
    int end;
    if (!PyArg_ParseTuple(args, "OOOOOOddddp", &time_of, &mark_of, &value_of, &past_of, &scale_of,
                          &moment_of, &settle, &reach, &known, &ready, &end))
        return NULL;
    Py_ssize_t n = PyObject_Size(time_of), k = 0;
    if (n < 0)
        return NULL;
    Py_buffer taken[6];
    PyObject *from[] = {time_of, mark_of, value_of, past_of, scale_of, moment_of};
    PyObject *suspects = NULL, *out = NULL;
    int held = 0;
    for (; held < 6; held++)
        if (!take_buffer(from[held], 'd', held == 5, held == 3 ? SIDE : n, taken + held))
            goto done;
    const double *time = taken[0].buf, *mark = taken[1].buf, *value = taken[2].buf;
    const double *past = taken[3].buf, *scale = taken[4].buf;
    double *moment = taken[5].buf;
    if (!(suspects = PyList_New(0)))
        goto done;
    /* Each row's due watermark, and the first row that is not due. */
    Py_ssize_t open = 0, high = n;
    for (Py_ssize_t i = 0; i < n; i++)
        moment[i] = mark[i] >= time[i] + settle ? mark[i] + reach : time[i] + reach + settle;
    while (!end && open < high) {
        Py_ssize_t middle = (open + high) / 2;
        if (known < moment[middle])
            high = middle;
        else
            open = middle + 1;
    }
    open = end ? n : open;
    for (; k < n; k++) {
        const double limit = time[k] + reach, due = moment[k];
        double newest = mark[k];
        int after = 0;
        for (Py_ssize_t j = k + 1; j < n && j <= k + SIDE; j++) {
            after += time[j] <= limit && mark[j] <= due;
            newest = larger(newest, mark[j]);
        }
        if (after == SIDE)
            moment[k] = larger(time[k + SIDE] + settle, newest);
        else if (k >= open)
            break;
        ready = larger(larger(ready, moment[k]), mark[k]);
        moment[k] = ready;
        if (!is_suspect(past, value, k, n, after, scale[k]))
            continue;
        PyObject *pair = Py_BuildValue("(ni)", k, after);
        if (!pair || PyList_Append(suspects, pair) < 0) {
            Py_XDECREF(pair);
            goto done;
        }
        Py_DECREF(pair);
    }
    out = Py_BuildValue("(nO)", k, suspects);
done:
    Py_XDECREF(suspects);
    while (held)
        PyBuffer_Release(taken + --held);
    return out;
}
