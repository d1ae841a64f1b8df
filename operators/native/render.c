/* Lines of JSON from columns: the text between the numbers is given, the numbers are the shortest
   that parse to the same float64.

   Source: R. Giulietti, "The Schubfach way to render doubles" (2020), for the digits. */
#include "native.h"
#include "powers.h"

#define MAX_NUMBER 25 /* bytes of a number */
#define MAX_DIGITS 18
#define MAX_ROOM 48 /* bytes that may be overwritten while a number is written */

static uint64_t round_to_odd(const uint64_t power[2], uint64_t c)
{
    unsigned __int128 low = (unsigned __int128)power[1] * c;
    unsigned __int128 high = (unsigned __int128)power[0] * c + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* Return the shortest decimal in the rounding interval of a finite x > 0, nearest to x:
   x ~ digits 10^exponent. */
static uint64_t shortest(uint64_t bits, int *exponent)
{
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int biased = (int)(bits >> 52);
    uint64_t c = biased ? fraction | UINT64_C(1) << 52 : fraction;
    int q = (biased ? biased : 1) - 1075;
    if (biased && q <= 0 && q > -53 && (c & ((UINT64_C(1) << -q) - 1)) == 0) {
        *exponent = 0; /* an integer below 2^53 */
        return c >> -q;
    }
    bool closer_below = fraction == 0 && biased > 1;
    /* k = floor(log10(2^q)), of 3/4 2^q if the interval is narrower below; 2^h 10^-k 2^q fits. */
    int k = (q * 1262611 - (closer_below ? 524031 : 0)) >> 22;
    int h = q + ((-k * 1741647) >> 19) + 1;
    const uint64_t *power = POWERS[-k - MIN_POWER];
    uint64_t odd = c & 1; /* an even c owns the ends of its interval */
    uint64_t lower = round_to_odd(power, (4 * c - 2 + closer_below) << h) + odd;
    uint64_t middle = round_to_odd(power, (4 * c) << h);
    uint64_t upper = round_to_odd(power, (4 * c + 2) << h) - odd;
    uint64_t s = middle / 4;
    if (s >= 10) {
        uint64_t tenth = s / 10;
        bool down = lower <= 40 * tenth, up = 40 * tenth + 40 <= upper;
        if (down != up) {
            *exponent = k + 1;
            return tenth + up;
        }
    }
    *exponent = k;
    bool down = lower <= 4 * s, up = 4 * s + 4 <= upper;
    if (down != up)
        return s + up;
    uint64_t half = 4 * s + 2;
    return s + (middle > half || (middle == half && (s & 1)));
}

/* Two digits of each number below 100. */
static const char PAIRS[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

/* Write an integer below 10^8 with leading zeros. */
static void put_eight(char *at, uint32_t number)
{
    uint32_t high = number / 10000, low = number % 10000;
    memcpy(at, PAIRS + 2 * (high / 100), 2);
    memcpy(at + 2, PAIRS + 2 * (high % 100), 2);
    memcpy(at + 4, PAIRS + 2 * (low / 100), 2);
    memcpy(at + 6, PAIRS + 2 * (low % 100), 2);
}

/* Write an integer below 10^18 in front of `end`, with leading zeros; return its first digit. */
static const char *put_digits(char *end, uint64_t number)
{
    uint64_t high = number / 100000000;
    put_eight(end - 8, (uint32_t)(number % 100000000));
    put_eight(end - 16, (uint32_t)(high % 100000000));
    memcpy(end - 18, PAIRS + 2 * (high / 100000000), 2);
    const char *first = end - 18;
    while (*first == '0' && first < end - 1)
        first++;
    return first;
}

/* Write a finite number as msgspec does: fixed from 1e-5 to below 1e16, else with an exponent.
   Bytes behind the number are overwritten, at most up to MAX_ROOM. */
static char *put_number(char *at, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    if (bits >> 63) {
        *at++ = '-';
        bits &= ~(UINT64_C(1) << 63);
    }
    if (bits == 0) {
        memcpy(at, "0.0", 3);
        return at + 3;
    }
    int exponent;
    uint64_t number = shortest(bits, &exponent);
    while (number % 10 == 0) {
        number /= 10;
        exponent++;
    }
    char text[2 * MAX_DIGITS]; /* the second half is copied along, and overwritten there */
    const char *first = put_digits(text + MAX_DIGITS, number);
    int digits = (int)(text + MAX_DIGITS - first);
    int point = digits + exponent; /* digits before the point */
    if (point > 16 || point < -4) {
        *at++ = *first;
        if (digits > 1) {
            *at++ = '.';
            memcpy(at, first + 1, MAX_DIGITS - 1);
            at += digits - 1;
        }
        *at++ = 'e';
        int power = point - 1;
        if (power < 0) {
            *at++ = '-';
            power = -power;
        }
        if (power >= 100)
            *at++ = (char)('0' + power / 100);
        if (power >= 10)
            *at++ = (char)('0' + power / 10 % 10);
        *at++ = (char)('0' + power % 10);
        return at;
    }
    if (point <= 0) {
        memcpy(at, "0.0000", 6);
        memcpy(at + 2 - point, first, MAX_DIGITS);
        return at + 2 - point + digits;
    }
    memcpy(at, first, MAX_DIGITS);
    if (exponent >= 0) {
        memset(at + digits, '0', (size_t)exponent);
        memcpy(at + point, ".0", 2);
        return at + point + 2;
    }
    at[point] = '.';
    memcpy(at + point + 1, first + point, MAX_DIGITS - 1);
    return at + digits + 1;
}

typedef struct {
    const char *bytes;
    Py_ssize_t size;
} Text;

/* A value of the line: a number, or a code that is an index into texts. */
typedef struct {
    Text before; /* the text in front of it */
    const double *number;
    const int64_t *code;
    const Text *texts;
    int64_t count;
    int64_t last; /* the code, or the bits of the number, in the line before */
    Py_ssize_t size; /* of both texts in the line before */
} Value;

static bool text_of(PyObject *from, Text *to)
{
    char *bytes;
    if (PyBytes_AsStringAndSize(from, &bytes, &to->size) < 0)
        return false;
    to->bytes = bytes;
    return true;
}

/* Set the values from their descriptions; return the greatest size of a line, -1 on failure. */
static Py_ssize_t described(PyObject *pieces, PyObject *sources, const Py_buffer *numbers,
                            const Py_buffer *codes, PyObject *tables, Value *values, Text *texts,
                            Text *after)
{
    Py_ssize_t m = PyTuple_Size(sources), most = 0;
    for (Py_ssize_t j = 0; j < m; j++) {
        Value *v = values + j;
        memset(v, 0, sizeof *v);
        if (!text_of(PyTuple_GetItem(pieces, j), &v->before))
            return -1;
        most += v->before.size;
        Py_ssize_t source = PyLong_AsSsize_t(PyTuple_GetItem(sources, j));
        if (source == -1 && PyErr_Occurred())
            return -1;
        if (source >= numbers->shape[0] || source < -codes->shape[0]) {
            PyErr_SetString(PyExc_ValueError, "a value of no column");
            return -1;
        }
        if (source >= 0) {
            v->number = (const void *)((const char *)numbers->buf + source * numbers->strides[0]);
            most += MAX_NUMBER;
            continue;
        }
        source = -1 - source;
        v->code = (const void *)((const char *)codes->buf + source * codes->strides[0]);
        PyObject *table = PyTuple_GetItem(tables, source);
        if (!PyTuple_Check(table)) {
            PyErr_SetString(PyExc_TypeError, "a table is a tuple of bytes");
            return -1;
        }
        v->count = PyTuple_Size(table);
        v->texts = texts;
        Py_ssize_t widest = 0;
        for (int64_t i = 0; i < v->count; i++, texts++) {
            if (!text_of(PyTuple_GetItem(table, (Py_ssize_t)i), texts))
                return -1;
            widest = texts->size > widest ? texts->size : widest;
        }
        most += widest;
    }
    return text_of(PyTuple_GetItem(pieces, m), after) ? most + after->size : -1;
}

/* Write the text of a value; return its end, NULL with an error set. */
static char *put_value(char *at, const Value *v, Py_ssize_t i)
{
    if (v->code) {
        int64_t code = v->code[i];
        if (code < 0 || code >= v->count) {
            PyErr_SetString(PyExc_IndexError, "a code without a text");
            return NULL;
        }
        memcpy(at, v->texts[code].bytes, (size_t)v->texts[code].size);
        return at + v->texts[code].size;
    }
    double x = v->number[i];
    if (x != x) {
        memcpy(at, "null", 4);
        return at + 4;
    }
    if (x - x != 0) {
        PyErr_SetString(PyExc_ValueError, "an infinite number was to be written");
        return NULL;
    }
    return put_number(at, x);
}

/* Write k lines; return their end, NULL with an error set. Neighbouring values that are those of
   the line before are copied from there, in one piece with the texts between them. */
static char *put_lines(char *at, Py_ssize_t k, Value *values, Py_ssize_t m, Text after)
{
    const char *before = at; /* the place in the line before */
    for (Py_ssize_t i = 0; i < k; i++) {
        Py_ssize_t same = 0; /* bytes from that place on that stay */
        for (Value *v = values; v < values + m; v++) {
            int64_t bits;
            memcpy(&bits, v->code ? (const void *)(v->code + i) : v->number + i, 8);
            if (i && bits == v->last) {
                same += v->size;
                continue;
            }
            memcpy(at, before, (size_t)same);
            at += same;
            before += same + v->size;
            same = 0;
            char *from = at;
            memcpy(at, v->before.bytes, (size_t)v->before.size);
            at = put_value(at + v->before.size, v, i);
            if (!at)
                return NULL;
            v->last = bits;
            v->size = at - from;
        }
        memcpy(at, before, (size_t)same);
        at += same;
        before += same + (i ? after.size : 0);
        memcpy(at, after.bytes, (size_t)after.size);
        at += after.size;
    }
    return at;
}

PyObject *lumen_render(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *pieces, *sources, *number_of, *code_of, *tables, *out = NULL;
    Py_ssize_t k;
    if (!PyArg_ParseTuple(args, "nO!O!OOO!", &k, &PyTuple_Type, &pieces, &PyTuple_Type, &sources,
                          &number_of, &code_of, &PyTuple_Type, &tables))
        return NULL;
    Py_ssize_t m = PyTuple_Size(sources), coded = PyTuple_Size(tables), texts = 0;
    if (PyTuple_Size(pieces) != m + 1 || k < 0)
        return PyErr_Format(PyExc_ValueError, "%zd values need %zd pieces", m, m + 1);
    Py_buffer numbers, codes;
    if (!take_rows(number_of, 'd', k, &numbers))
        return NULL;
    if (!take_rows(code_of, 'q', k, &codes)) {
        PyBuffer_Release(&numbers);
        return NULL;
    }
    char *begin = NULL;
    Value *values = NULL;
    Text after, *all = NULL;
    if (codes.shape[0] != coded) {
        PyErr_Format(PyExc_ValueError, "%zd rows of codes need as many tables", codes.shape[0]);
        goto done;
    }
    /* A table may serve several values. */
    for (Py_ssize_t j = 0; j < coded; j++)
        texts += PyTuple_Check(PyTuple_GetItem(tables, j))
                     ? PyTuple_Size(PyTuple_GetItem(tables, j)) : 0;
    values = PyMem_Calloc((size_t)m + 1, sizeof *values);
    all = PyMem_Calloc((size_t)(texts * m) + 1, sizeof *all);
    if (!values || !all) {
        PyErr_NoMemory();
        goto done;
    }
    Py_ssize_t most = described(pieces, sources, &numbers, &codes, tables, values, all, &after);
    if (most < 0)
        goto done;
    if (most && k > (PY_SSIZE_T_MAX - MAX_ROOM) / most) {
        PyErr_NoMemory();
        goto done;
    }
    begin = PyMem_Malloc((size_t)(k * most) + MAX_ROOM);
    if (!begin) {
        PyErr_NoMemory();
        goto done;
    }
    char *end = put_lines(begin, k, values, m, after);
    if (end)
        out = PyBytes_FromStringAndSize(begin, end - begin);
done:
    PyMem_Free(begin);
    PyMem_Free(values);
    PyMem_Free(all);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&codes);
    return out;
}
