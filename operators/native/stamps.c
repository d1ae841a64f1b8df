/* The grid of a window of stamps, and the packets of a window of samples:
   operators/drift/stamp_grain.py and packet_window.py have the formulas, in the same order. */
#include "native.h"
#include <math.h>

/* ---- the grid of sixteen stamps --------------------------------------------------------------- */

#define WINDOW 16
#define MAX_STAMP_S 1e12
#define MIN_ON_GRID 0.85
#define MIN_REPEATED 2
#define CLOSE_S 1e-6
#define ULPS 4.0
#define MAX_DOUBT 0.1
#define MIN_OF_EACH 3

static const double STEPS[] = {1.0, 0.1, 0.01, 0.001};
enum { NO_GRAIN, STRONG, UNDECIDED };

static int64_t divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Return the evidence that a grid of this size is a grain, -1 where the stamps do not lie on it. */
static int evidence(const double *step, const double *close, double size, long repeated)
{
    int64_t multiple[WINDOW], common = 0, least = 0;
    int on = 0, ones = 0, twos = 0;
    const double most_off = (1 - MIN_ON_GRID) * (WINDOW - 1);
    for (int k = 0; k < WINDOW - 1; k++) {
        double n = rint(step[k] / size);
        if (n != 0.0 && fabs(step[k] - n * size) <= close[k] && close[k] < MAX_DOUBT * size) {
            multiple[on] = (int64_t)fabs(n);
            common = divisor(multiple[on], common);
            least = on && least < multiple[on] ? least : multiple[on];
            on++;
        } else if (k + 1 - on > most_off) {
            return -1;
        }
    }
    if (least > common || repeated >= MIN_REPEATED)
        return STRONG;
    for (int k = 0; k < on; k++) {
        ones += multiple[k] == common;
        twos += multiple[k] == 2 * common;
    }
    bool few = (ones < twos ? ones : twos) < MIN_OF_EACH;
    return on < WINDOW - 1 || ones + twos < on || few ? NO_GRAIN : UNDECIDED;
}

PyObject *lumen_grid(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *stamps_of, *out = NULL;
    Py_ssize_t first;
    long repeated;
    if (!PyArg_ParseTuple(args, "Onl", &stamps_of, &first, &repeated))
        return NULL;
    Py_ssize_t n = PyObject_Size(stamps_of);
    Py_buffer taken;
    if (n < 0 || !take_buffer(stamps_of, 'd', false, n, &taken))
        return NULL;
    if (first < 0 || first > n - WINDOW) {
        PyErr_Format(PyExc_ValueError, "a window has %d stamps", WINDOW);
        goto done;
    }
    const double *stamp = (const double *)taken.buf + first;
    double step[WINDOW], close[WINDOW], far = 0.0, size = 0.0;
    for (int k = 0; k < WINDOW; k++)
        far += fabs(stamp[k]);
    int found = far <= WINDOW * MAX_STAMP_S ? -1 : UNDECIDED;
    for (int k = 0; found < 0 && k < WINDOW - 1; k++) {
        double most = fmax(fabs(stamp[k]), fabs(stamp[k + 1]));
        step[k] = stamp[k + 1] - stamp[k];
        close[k] = CLOSE_S + ULPS * (nextafter(most, INFINITY) - most);
    }
    for (size_t k = 0; found < 0 && k < sizeof STEPS / sizeof *STEPS; k++) {
        size = STEPS[k];
        found = evidence(step, close, size, repeated);
    }
    out = found < 0 ? Py_BuildValue("(di)", 0.0, NO_GRAIN) : Py_BuildValue("(di)", size, found);
done:
    PyBuffer_Release(&taken);
    return out;
}

/* ---- the packets of a window ------------------------------------------------------------------ */

#define PACKETS 64
#define MIN_COUNT 8
#define MIN_S 1.0
#define TOGETHER 0.25
#define MINUTE_S 60.0
#define GAPS 3.0
#define MAX_GAP 1.5
#define MAX_QUIET_S 5.0
#define RATE_S 10.0
#define OUTAGE 5.0
#define MIN_IN_PACKET 3
#define QUANTILE 0.95
#define MAX_LENGTH_S 10.0
#define MAX_NEW 64
#define MAX_SECONDS 128

enum { GAP, LENGTH, SIZE, PACKET_COLUMNS };
enum { NUMBER, BEGIN, SAMPLES, LONGEST, SECOND, START, COUNT, SECOND_COLUMNS };

typedef struct {
    int n, room, columns;
    double x[SECOND_COLUMNS][PACKETS + MAX_NEW];
} Table;

/* Set a table from a list of lists of floats. */
static bool read_table(PyObject *from, int columns, int room, Table *to)
{
    if (!PyList_Check(from) || PyList_Size(from) != columns)
        goto wrong;
    to->columns = columns;
    to->room = room;
    for (int c = 0; c < columns; c++) {
        PyObject *column = PyList_GetItem(from, c);
        Py_ssize_t n = PyList_Check(column) ? PyList_Size(column) : -1;
        if (n < 0 || n > room || (c && n != to->n))
            goto wrong;
        to->n = (int)n;
        for (int k = 0; k < to->n; k++) {
            to->x[c][k] = PyFloat_AsDouble(PyList_GetItem(column, k));
            if (to->x[c][k] == -1.0 && PyErr_Occurred())
                return false;
        }
    }
    return true;
wrong:
    PyErr_SetString(PyExc_ValueError, "a table of the wrong shape");
    return false;
}

/* Write a table that had `had` rows, without its first `gone`; rows before `same` are unchanged. */
static bool write_table(PyObject *to, const Table *from, int had, int same, int gone)
{
    for (int c = 0; c < from->columns; c++) {
        PyObject *column = PyList_GetItem(to, c);
        for (int k = same; k < from->n; k++) {
            PyObject *x = PyFloat_FromDouble(from->x[c][k]);
            if (!x || (k < had ? PyList_SetItem(column, k, x) : PyList_Append(column, x)) < 0)
                return false;
            if (k >= had)
                Py_DECREF(x); /* PyList_SetItem takes the reference, PyList_Append does not */
        }
        if (gone && PyList_SetSlice(column, 0, gone, NULL) < 0)
            return false;
    }
    return true;
}

static double larger(double x, double y) { return y > x ? y : x; }
static double smaller(double x, double y) { return y < x ? y : x; }

/* Raise the two largest numbers, `two[0]` the larger, by one more. */
static void rank(double x, double two[2])
{
    if (x > two[0]) {
        two[1] = two[0];
        two[0] = x;
    } else if (x > two[1]) {
        two[1] = x;
    }
}

/* Return a quantile of numbers, which are sorted; 0 for none. */
static double ranked(double *x, int n, double part)
{
    for (int k = 1; k < n; k++) {
        double here = x[k];
        int place = k;
        for (; place && here < x[place - 1]; place--)
            x[place] = x[place - 1];
        x[place] = here;
    }
    return n ? x[(int)ceil(part * n) - 1] : 0.0;
}

/* Append a window of n samples to the seconds, or join it with the earlier ones of its second. */
static void join_second(Table *s, double number, double begin, int n, const double two[2])
{
    int k = s->n - 1;
    if (s->n && s->x[NUMBER][k] == number) {
        double most[2] = {s->x[LONGEST][k], s->x[SECOND][k]};
        rank(two[0], most);
        rank(two[1], most);
        s->x[SAMPLES][k] += n;
        s->x[LONGEST][k] = most[0];
        s->x[SECOND][k] = most[1];
        return;
    }
    const double new[] = {number, begin, n, two[0], two[1], NAN, NAN};
    for (int c = 0; c < SECOND_COLUMNS; c++)
        s->x[c][s->n] = new[c];
    s->n++;
}

/* Return the first place whose number is not less than x, or that is more than x if `right`. */
static int bisect(const double *number, int n, double x, bool right)
{
    int low = 0;
    while (low < n) {
        int middle = (low + n) / 2;
        if (right ? !(x < number[middle]) : number[middle] < x)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

PyObject *lumen_window(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *arrival_of, *host_of, *packets_of, *seconds_of, *out = NULL;
    Py_ssize_t a, b;
    double past, opened, newest, origin;
    long size;
    if (!PyArg_ParseTuple(args, "OOnnd(ddl)OOd", &arrival_of, &host_of, &a, &b, &past, &opened,
                          &newest, &size, &packets_of, &seconds_of, &origin))
        return NULL;
    Py_ssize_t room = PyObject_Size(host_of);
    Py_buffer arrival_in, host_in;
    if (room < 0 || !take_buffer(arrival_of, 'd', false, room + 1, &arrival_in))
        return NULL;
    if (!take_buffer(host_of, 'd', false, room, &host_in)) {
        PyBuffer_Release(&arrival_in);
        return NULL;
    }
    Table packets, seconds;
    if (!read_table(packets_of, PACKET_COLUMNS, PACKETS, &packets)
        || !read_table(seconds_of, SECOND_COLUMNS, MAX_SECONDS - 1, &seconds))
        goto done;
    if (a < 0 || b > room || a >= b || b - a > MAX_NEW) {
        PyErr_Format(PyExc_ValueError, "a window has 1 to %d samples", MAX_NEW);
        goto done;
    }
    const double *arrival = (const double *)arrival_in.buf + a, *host = (const double *)host_in.buf + a;
    const int n = (int)(b - a), had_packets = packets.n, had_seconds = seconds.n;
    const double end = arrival[n];
    double start = NAN, before = NAN, two[2] = {0.0, -INFINITY};
    if (had_seconds) {
        start = seconds.x[START][had_seconds - 1];
        before = seconds.x[COUNT][had_seconds - 1];
    }
    for (int k = 0; k < n; k++)
        rank(arrival[k + 1] - arrival[k], two);
    join_second(&seconds, floor(end), arrival[0], n, two);
    const int last = seconds.n - 1;
    /* The last minute, this window included. */
    const int first = bisect(seconds.x[NUMBER], seconds.n, seconds.x[NUMBER][last] - MINUTE_S, false);
    double total = 0.0, most[2] = {-INFINITY, -INFINITY};
    for (int k = first; k < seconds.n; k++) {
        total += seconds.x[SAMPLES][k];
        rank(seconds.x[LONGEST][k], most);
        rank(seconds.x[SECOND][k], most);
    }
    const double span = end - seconds.x[BEGIN][first];
    const double mean = larger((span - most[0]) / larger(total - 1, 1), 0.0);
    const double together = TOGETHER * mean;
    /* Packets: those closed by this window, and the one that it leaves open. */
    for (int k = 0; k < n; k++) {
        double gap = arrival[k + 1] - arrival[k];
        bool known = opened == opened;
        if (gap >= together || !known) {
            if (known) {
                packets.x[GAP][packets.n] = gap;
                packets.x[LENGTH][packets.n] = newest - opened;
                packets.x[SIZE][packets.n++] = (double)size;
            }
            opened = host[k];
            size = 0;
            start = arrival[k + 1];
            before = past + k;
        }
        newest = host[k];
        size++;
    }
    seconds.x[START][last] = start;
    seconds.x[COUNT][last] = before;
    const int gone = packets.n > PACKETS ? packets.n - PACKETS : 0;
    double fit[PACKETS], spans[PACKETS];
    int fitting = 0;
    for (int k = gone; k < packets.n; k++) {
        if (!(packets.x[GAP][k] >= together))
            continue;
        fit[fitting] = packets.x[GAP][k];
        spans[fitting++] = packets.x[SIZE][k] >= MIN_IN_PACKET ? packets.x[LENGTH][k] : 0.0;
    }
    const double median = ranked(fit, fitting, 0.5);
    const double quiet = larger(GAPS * median, MAX_GAP * most[1]);
    const double length = smaller(ranked(spans, fitting, QUANTILE), MAX_LENGTH_S);
    /* The rate of the last seconds, from packet to packet. */
    const int base = bisect(seconds.x[NUMBER], seconds.n, seconds.x[NUMBER][last] - RATE_S, true) - 1;
    const bool known = base >= 0 && seconds.x[START][base] == seconds.x[START][base];
    const double begun = known ? seconds.x[START][base] : origin;
    const double count = known ? seconds.x[COUNT][base] : 0.0;
    double silence = -INFINITY;
    for (int k = known ? base + 1 : 0; k < seconds.n; k++)
        silence = larger(silence, seconds.x[LONGEST][k]);
    const bool outage = silence > larger(OUTAGE * median, quiet);
    const double over = start - begun - (outage ? silence - median : 0.0);
    const double rate = over > 0 ? (before - count) / over : NAN;
    const bool enough = most[0] <= span / 2 && fitting >= MIN_COUNT && end - origin >= MIN_S;
    if (!write_table(packets_of, &packets, had_packets, had_packets, gone)
        || !write_table(seconds_of, &seconds, had_seconds, last, first > 1 ? first - 1 : 0))
        goto done;
    if (enough && rate > 0)
        out = Py_BuildValue("((ddl)(ddd))", opened, newest, size, rate,
                            smaller(quiet, MAX_QUIET_S), length);
    else
        out = Py_BuildValue("((ddl)O)", opened, newest, size, Py_None);
done:
    PyBuffer_Release(&arrival_in);
    PyBuffer_Release(&host_in);
    return out;
}
