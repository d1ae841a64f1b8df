/* The clock of a source: operators/drift/clock.py, clock_bin.py and offset_filter.py have the
   formulas, under the same names and in the same order. */
#include "native.h"
#include <math.h>

/* Python's max(x, y) and min(x, y), also for NaN. */
static double larger(double x, double y) { return y > x ? y : x; }
static double smaller(double x, double y) { return y < x ? y : x; }

/* Python's x ** 2, which is a call of pow: a product may differ in the last bit. */
static double squared(double x)
{
    volatile double two = 2.0;
    return pow(x, two);
}

/* ---- stamps that are in no doubt -------------------------------------------------------------- */

PyObject *lumen_follow(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *source_of, *delay_of, *host_of;
    Py_ssize_t i, room;
    double offset, slope, at, low, high, due;
    if (!PyArg_ParseTuple(args, "OOOn(ddd)dddn", &source_of, &delay_of, &host_of, &i, &offset,
                          &slope, &at, &low, &high, &due, &room))
        return NULL;
    Py_ssize_t n = PyObject_Size(source_of);
    if (n < 0)
        return NULL;
    Py_buffer taken[3];
    PyObject *from[] = {source_of, delay_of, host_of}, *out = NULL;
    int held = 0;
    for (; held < 3; held++)
        if (!take_buffer(from[held], 'd', held == 2, n, taken + held))
            goto done;
    if (i < 0 || i > n) {
        PyErr_SetString(PyExc_ValueError, "the first stamp is none of these");
        goto done;
    }
    const double *source = taken[0].buf, *delay = taken[1].buf;
    double *host = taken[2].buf;
    Py_ssize_t stop = room < 0 || room > n - i ? n : i + room;
    for (; i < stop; i++) {
        double predicted = offset + slope * (source[i] - at), e = delay[i] - predicted;
        if (!(-low <= e && e <= high) || source[i] >= due)
            break;
        host[i] = source[i] + predicted;
    }
    out = PyLong_FromSsize_t(i);
done:
    while (held)
        PyBuffer_Release(taken + --held);
    return out;
}

/* ---- the stamps of one bin -------------------------------------------------------------------- */

#define ROUNDED_S 1e-3
#define NEAR 2e-3
#define MAX_BIN 1024

PyObject *lumen_lowest(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *source_of, *delay_of, *out = NULL;
    double offset, slope, at;
    if (!PyArg_ParseTuple(args, "OO(ddd)", &source_of, &delay_of, &offset, &slope, &at))
        return NULL;
    Py_ssize_t size = PyObject_Size(source_of), n = 0, lowest = 0;
    if (size < 0)
        return NULL;
    Py_buffer source_in, delay_in;
    if (!take_buffer(source_of, 'd', false, size, &source_in))
        return NULL;
    if (!take_buffer(delay_of, 'd', false, size, &delay_in)) {
        PyBuffer_Release(&source_in);
        return NULL;
    }
    if (size < 1 || size > MAX_BIN) {
        PyErr_Format(PyExc_ValueError, "a bin has 1 to %d stamps", MAX_BIN);
        goto done;
    }
    const double *source = source_in.buf, *delay = delay_in.buf;
    double ranked[MAX_BIN], least = 0.0;
    bool whole = true, finite = true;
    for (Py_ssize_t k = 0; k < size; k++) {
        if (k && source[k] == source[k - 1])
            continue;
        double e = delay[k] - (offset + slope * (source[k] - at));
        double count = source[k] / ROUNDED_S;
        finite = finite && isfinite(e) && isfinite(count);
        whole = whole && fabs(count - rint(count)) < NEAR;
        if (!n || e < least) {
            least = e;
            lowest = k;
        }
        Py_ssize_t place = n++;
        for (; place && e < ranked[place - 1]; place--)
            ranked[place] = ranked[place - 1];
        ranked[place] = e;
    }
    if (finite)
        out = Py_BuildValue("(ndddddO)", n, source[lowest], delay[lowest], least,
                            ranked[n / 2] - least, ranked[(Py_ssize_t)(0.95 * (double)(n - 1))] - least,
                            whole ? Py_True : Py_False);
    else
        out = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&source_in);
    PyBuffer_Release(&delay_in);
    return out;
}

/* ---- a reading of the offset ------------------------------------------------------------------ */

#define MAX_FILTERS 6
#define EDGE_BLUR (1.0 / 32)
#define MIN_EDGE_S 2e-6
#define CAUTION 0.65
#define CAUTION_SLOPE 0.85
#define MAX_SLOPE 500e-6
#define HUBER 4.0
#define FORGET_EXCESS 0.99
#define MIN_READINGS 10
#define MIN_WEIGHT 2e-6
#define MAX_UNLIKELY 16.0
#define MIN_READING_SD_S 1e-6
#define ROUNDING_VAR (1.0 / 9)
#define HIDDEN_VAR 0.18
#define ROOT_2 1.4142135623730951
#define ROOT_2_PI 2.5066282746310002
#define LOG_2_PI 1.8378770664093453

typedef struct {
    double weight, offset, slope, p00, p01, p11, q_slope, sharp;
} Filter;

typedef struct {
    double at, offset, slope, offset_var, cross_var, slope_var, hidden, excess, edge;
    long readings;
    int count;
    Filter filters[MAX_FILTERS];
} Bank;

/* Attributes of a filter and of a bank, in the order of the structs; those that change first. */
static const char *const FILTER[] = {"weight", "offset", "slope", "p00", "p01", "p11", "q_slope",
                                     "sharp"};
static const char *const BANK[] = {"at", "offset", "slope", "offset_var", "cross_var", "slope_var",
                                   "hidden", "excess", "edge"};
enum { FILTER_ALL = 8, FILTER_NEW = 6, BANK_ALL = 9 };
static PyObject *filter_names[FILTER_ALL], *bank_names[BANK_ALL], *name_readings, *name_filters;

static bool intern(const char *const *texts, PyObject **names, int n)
{
    for (int j = 0; j < n; j++)
        if (!names[j] && !(names[j] = PyUnicode_InternFromString(texts[j])))
            return false;
    return true;
}

static bool read_numbers(PyObject *from, PyObject **names, int n, double *to)
{
    for (int j = 0; j < n; j++) {
        PyObject *x = PyObject_GetAttr(from, names[j]);
        if (!x)
            return false;
        to[j] = PyFloat_AsDouble(x);
        Py_DECREF(x);
        if (to[j] == -1.0 && PyErr_Occurred())
            return false;
    }
    return true;
}

static bool write_numbers(PyObject *to, PyObject **names, int n, const double *from)
{
    for (int j = 0; j < n; j++) {
        PyObject *x = PyFloat_FromDouble(from[j]);
        if (!x || PyObject_SetAttr(to, names[j], x) < 0) {
            Py_XDECREF(x);
            return false;
        }
        Py_DECREF(x);
    }
    return true;
}

static void predict(Filter *f, double dt)
{
    double wander = f->q_slope * dt;
    f->offset += f->slope * dt;
    f->p00 += dt * (2 * f->p01 + dt * (f->p11 + wander / 3));
    f->p01 += dt * (f->p11 + wander / 2);
    f->p11 += wander;
}

static void update(Filter *f, double first, double second)
{
    double k0 = f->p00, k1 = f->p01;
    f->offset += k0 * first;
    f->slope += k1 * first;
    f->p00 -= k0 * k0 * second;
    f->p01 -= k0 * k1 * second;
    f->p11 -= k1 * k1 * second;
}

static double beyond(double e, double rounding)
{
    return copysign(larger(fabs(e) - rounding / 2, 0.0), e);
}

/* Return log Phi(b), and set Mills' ratio. */
static double normal(double b, double *mills)
{
    if (b > -8) {
        double below = 0.5 * erfc(-b / ROOT_2);
        *mills = exp(-0.5 * b * b) / (ROOT_2_PI * below);
        return log(below);
    }
    double u = 1 / (b * b);
    *mills = -b / (1 - u * (1 - 3 * u * (1 - 5 * u)));
    return -0.5 * b * b - log(ROOT_2_PI * *mills);
}

static double sharp_reading(Filter *f, double least, double own, double var, double rounding)
{
    double e = least - f->offset, s = f->p00 + var, root = sqrt(s);
    double b = e / root - root / own, mills, unused;
    double likely = normal(b, &mills);
    update(f, 1 / own - mills / root, smaller(mills * (b + mills), 1.0) / s);
    if (rounding != 0.0) {
        e = own + beyond(e - own, rounding);
        likely = normal(e / root - root / own, &unused);
    }
    likely += s / (2 * own * own) - e / own;
    return larger(likely, -0.5 * MAX_UNLIKELY - 1) - log(own);
}

static double blunt_reading(const Bank *bank, Filter *f, double offset, double r, double rounding)
{
    double e = offset - f->offset, s = f->p00 + r, true_var = bank->excess * s;
    double unlikely = e * e / true_var;
    double plain = rounding != 0.0 ? squared(beyond(e, rounding)) / true_var : unlikely;
    double likely = -0.5 * (LOG_2_PI + log(true_var) + smaller(plain, MAX_UNLIKELY));
    if (bank->readings >= MIN_READINGS && unlikely > HUBER * HUBER)
        s = f->p00 + r * sqrt(unlikely) / HUBER;
    update(f, e / s, 1 / s);
    return likely;
}

static void learn(Bank *bank, double offset, double r, double rounding)
{
    const Filter *quick = bank->filters + bank->count - 1;
    double own = squared(offset - quick->offset) / (quick->p00 + r);
    if (bank->readings >= MIN_READINGS)
        own = smaller(own, 25 * bank->excess);
    bank->excess += larger(1 - FORGET_EXCESS, 1 / (double)bank->readings) * (own - bank->excess);
    bank->excess = larger(bank->excess, rounding != 0.0 ? 1.0 : squared(MIN_READING_SD_S) / r);
}

static void units(const Bank *bank, const Filter *f, double u[3])
{
    u[0] = u[1] = u[2] = bank->excess;
    if (f->sharp != 0.0) {
        u[0] = CAUTION;
        u[1] = sqrt(CAUTION * CAUTION_SLOPE);
        u[2] = CAUTION_SLOPE;
    }
}

static void average(Bank *bank)
{
    double total = 0.0, offset = 0.0, slope = 0.0, v00 = 0.0, v01 = 0.0, v11 = 0.0, u[3];
    Filter *base = bank->filters, *end = base + bank->count;
    for (Filter *f = base; f < end; f++)
        total += f->weight;
    for (Filter *f = base; f < end; f++) {
        f->weight /= total;
        offset += f->weight * (f->offset - base->offset);
        slope += f->weight * (f->slope - base->slope);
    }
    bank->offset = base->offset + offset;
    bank->slope = smaller(larger(base->slope + slope, -MAX_SLOPE), MAX_SLOPE);
    for (Filter *f = base; f < end; f++) {
        double a = f->offset - bank->offset, b = f->slope - bank->slope;
        units(bank, f, u);
        v00 += f->weight * (u[0] * f->p00 + a * a);
        v01 += f->weight * (u[1] * f->p01 + a * b);
        v11 += f->weight * (u[2] * f->p11 + b * b);
    }
    bank->offset_var = v00;
    bank->cross_var = v01;
    bank->slope_var = v11;
}

/* Restart the filters without weight from the line. */
static void restart(Bank *bank)
{
    bool any = false;
    for (Filter *f = bank->filters; f < bank->filters + bank->count; f++) {
        double u[3];
        if (!(f->weight < MIN_WEIGHT))
            continue;
        any = true;
        units(bank, f, u);
        f->weight = MIN_WEIGHT;
        f->offset = bank->offset;
        f->slope = bank->slope;
        f->p00 = bank->offset_var / u[0];
        f->p01 = bank->cross_var / u[1];
        f->p11 = bank->slope_var / u[2];
    }
    if (any)
        average(bank);
}

static void read_offset(Bank *bank, double at, double least, double own, double r, double rounding)
{
    double dt = larger(at - bank->at, 0.0), logs[MAX_FILTERS], top = 0.0, sharp = 0.0;
    bank->at += dt;
    bank->readings++;
    for (int j = 0; j < bank->count; j++)
        predict(bank->filters + j, dt);
    double blur = ROUNDING_VAR * squared(rounding);
    r += blur;
    learn(bank, least - own, r, rounding);
    double edge_var = squared(larger(MIN_EDGE_S, EDGE_BLUR * own)) + blur;
    for (int j = 0; j < bank->count; j++) {
        Filter *f = bank->filters + j;
        if (f->sharp == 0.0)
            logs[j] = blunt_reading(bank, f, least - own, r, rounding);
        else
            logs[j] = own != 0.0 ? sharp_reading(f, least, own, edge_var, rounding) : -INFINITY;
        top = j ? larger(top, logs[j]) : logs[j];
    }
    for (int j = 0; j < bank->count; j++)
        bank->filters[j].weight *= exp(logs[j] - top);
    average(bank);
    restart(bank);
    bank->edge = sqrt(bank->excess * r);
    for (int j = 0; j < bank->count; j++)
        if (bank->filters[j].sharp != 0.0)
            sharp += bank->filters[j].weight;
    double unsharp = larger(bank->excess * r - own * own, 0.0);
    bank->hidden = own != 0.0 ? HIDDEN_VAR * (sharp * edge_var + (1 - sharp) * unsharp) : 0.0;
}

PyObject *lumen_read(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *bank_of, *filters = NULL, *readings = NULL, *out = NULL;
    double at, least, own, r, rounding;
    Bank bank;
    if (!PyArg_ParseTuple(args, "Oddddd", &bank_of, &at, &least, &own, &r, &rounding))
        return NULL;
    if (!intern(FILTER, filter_names, FILTER_ALL) || !intern(BANK, bank_names, BANK_ALL)
        || !intern((const char *[]){"readings"}, &name_readings, 1)
        || !intern((const char *[]){"filters"}, &name_filters, 1)
        || !read_numbers(bank_of, bank_names, BANK_ALL, &bank.at)
        || !(readings = PyObject_GetAttr(bank_of, name_readings))
        || !(filters = PyObject_GetAttr(bank_of, name_filters)))
        goto done;
    bank.readings = PyLong_AsLong(readings);
    Py_CLEAR(readings);
    if (bank.readings == -1 && PyErr_Occurred())
        goto done;
    Py_ssize_t count = PyList_Check(filters) ? PyList_Size(filters) : 0;
    if (count < 1 || count > MAX_FILTERS) {
        PyErr_Format(PyExc_ValueError, "a bank has 1 to %d filters", MAX_FILTERS);
        goto done;
    }
    bank.count = (int)count;
    for (int j = 0; j < bank.count; j++)
        if (!read_numbers(PyList_GetItem(filters, j), filter_names, FILTER_ALL,
                          &bank.filters[j].weight))
            goto done;
    read_offset(&bank, at, least, own, r, rounding);
    for (int j = 0; j < bank.count; j++)
        if (!write_numbers(PyList_GetItem(filters, j), filter_names, FILTER_NEW,
                           &bank.filters[j].weight))
            goto done;
    if (!write_numbers(bank_of, bank_names, BANK_ALL, &bank.at)
        || !(readings = PyLong_FromLong(bank.readings))
        || PyObject_SetAttr(bank_of, name_readings, readings) < 0)
        goto done;
    out = Py_NewRef(Py_None);
done:
    Py_XDECREF(readings);
    Py_XDECREF(filters);
    return out;
}
