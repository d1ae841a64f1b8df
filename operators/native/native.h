/* Shared by the parts of the extension: Python's stable ABI, and buffers with their checks. */
#ifndef LUMEN_NATIVE_H
#define LUMEN_NATIVE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <float.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Results equal those of numpy bit for bit: double precision throughout, no fused operation. */
#if FLT_EVAL_METHOD != 0
#error "intermediate results have more precision than float64"
#endif

/* Take a C-contiguous buffer of `size` items of a type ('d' float64, 'q' int64, 'i' int32).
   On failure a Python error is set and nothing has to be released. */
bool take_buffer(PyObject *from, char type, bool writable, Py_ssize_t size, Py_buffer *to);

/* Take a buffer of rows of `size` neighbouring items; the rows may lie apart. */
bool take_rows(PyObject *from, char type, Py_ssize_t size, Py_buffer *to);

PyObject *lumen_render(PyObject *self, PyObject *args);
PyObject *lumen_fit(PyObject *self, PyObject *args);
PyObject *lumen_cells(PyObject *self, PyObject *args);
PyObject *lumen_fill(PyObject *self, PyObject *args);
PyObject *lumen_trend(PyObject *self, PyObject *args);
PyObject *lumen_follow(PyObject *self, PyObject *args);
PyObject *lumen_lowest(PyObject *self, PyObject *args);
PyObject *lumen_read(PyObject *self, PyObject *args);
PyObject *lumen_grid(PyObject *self, PyObject *args);
PyObject *lumen_window(PyObject *self, PyObject *args);
PyObject *lumen_decide(PyObject *self, PyObject *args);
PyObject *lumen_spread_runs(PyObject *self, PyObject *args);
PyObject *lumen_search(PyObject *self, PyObject *args);

#endif
