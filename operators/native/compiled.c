/* The extension module `operators.native.compiled`; operators/native/__init__.py loads it. */
#include "native.h"

bool take_buffer(PyObject *from, char type, bool writable, Py_ssize_t size, Py_buffer *to)
{
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(from, to, flags) < 0)
        return false;
    const char *format = to->format ? to->format : "B";
    Py_ssize_t item = type == 'i' ? 4 : 8;
    bool is_integer = *format == 'l' || *format == 'q' || *format == 'i';
    if (to->itemsize == item && format[1] == 0 && to->len == size * item
        && (type == 'd' ? *format == 'd' : is_integer))
        return true;
    PyErr_Format(PyExc_ValueError, "%zd items '%c' were expected, not %zd bytes '%s'", size, type,
                 to->len, format);
    PyBuffer_Release(to);
    return false;
}

bool take_rows(PyObject *from, char type, Py_ssize_t size, Py_buffer *to)
{
    if (PyObject_GetBuffer(from, to, PyBUF_STRIDES | PyBUF_FORMAT) < 0)
        return false;
    const char *format = to->format ? to->format : "B";
    bool same = type == 'd' ? *format == 'd' : *format == 'l' || *format == 'q';
    if (same && format[1] == 0 && to->itemsize == 8 && to->ndim == 2 && to->shape[1] == size
        && (size < 2 || to->strides[1] == 8))
        return true;
    PyErr_Format(PyExc_ValueError, "rows of %zd items '%c' were expected", size, type);
    PyBuffer_Release(to);
    return false;
}

static PyMethodDef methods[] = {
    {"render", lumen_render, METH_VARARGS, NULL},
    {"fit", lumen_fit, METH_VARARGS, NULL},
    {"cells", lumen_cells, METH_VARARGS, NULL},
    {"fill", lumen_fill, METH_VARARGS, NULL},
    {"trend", lumen_trend, METH_VARARGS, NULL},
    {"follow", lumen_follow, METH_VARARGS, NULL},
    {"lowest", lumen_lowest, METH_VARARGS, NULL},
    {"read", lumen_read, METH_VARARGS, NULL},
    {"grid", lumen_grid, METH_VARARGS, NULL},
    {"window", lumen_window, METH_VARARGS, NULL},
    {"decide", lumen_decide, METH_VARARGS, NULL},
    {"spread_runs", lumen_spread_runs, METH_VARARGS, NULL},
    {"search", lumen_search, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "compiled",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_compiled(void)
{
    return PyModuleDef_Init(&definition);
}
