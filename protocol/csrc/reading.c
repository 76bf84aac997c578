/* From bytes to Python values; see kind.h. A function that returns NULL without an exception, or
 * false, gives up. */

#include "kind.h"

#include <string.h>

static PyObject *read_int(kind *k, reader *in)
{
    unsigned major = 0;
    uint64_t argument = 0;
    if (!wire_head(in, &major, &argument)) {
        return NULL;
    }
    if (major == MAJOR_UNSIGNED && argument >= k->low && argument <= k->high) {
        return PyLong_FromUnsignedLongLong(argument);
    }
    if (major == MAJOR_UNSIGNED || argument > INT64_MAX) {
        return NULL;
    }
    int64_t value = -1 - (int64_t)argument;
    return value >= k->low_negative ? PyLong_FromLongLong(value) : NULL;
}

static PyObject *read_real(kind *k, reader *in)
{
    static const uint64_t exact_max = UINT64_C(1) << 53;
    double value = 0;
    if (in->at < in->end && *in->at >> 5 == MAJOR_OTHER) {
        if (!wire_float(in, &value)) {
            return NULL;
        }
    } else {
        unsigned major = 0;
        uint64_t argument = 0;
        if (!wire_head(in, &major, &argument) || major > MAJOR_NEGATIVE || argument >= exact_max) {
            return NULL;
        }
        value = major == MAJOR_UNSIGNED ? (double)argument : -1.0 - (double)argument;
    }
    return value >= k->low_real && value <= k->high_real ? PyFloat_FromDouble(value) : NULL;
}

static PyObject *read_bool(reader *in)
{
    if (in->at == in->end || (*in->at != 0xF4 && *in->at != 0xF5)) {
        return NULL;
    }
    return PyBool_FromLong(*in->at++ == 0xF5);
}

int kind_matches(PyObject *fullmatch, PyObject *text)
{
    PyObject *found = PyObject_CallFunctionObjArgs(fullmatch, text, NULL);
    if (found == NULL) {
        return -1;
    }
    Py_DECREF(found);
    return found != Py_None;
}

static PyObject *read_text(kind *k, reader *in)
{
    uint64_t size = 0;
    if (!wire_counted(in, MAJOR_TEXT, 0, UINT64_MAX, &size)) {
        return NULL;
    }
    PyObject *text = PyUnicode_DecodeUTF8((const char *)in->at, (Py_ssize_t)size, "strict");
    in->at += size;
    if (text == NULL) {
        PyErr_Clear();                       /* the table names the byte */
        return NULL;
    }
    bool is_good = (uint64_t)PyUnicode_GetLength(text) <= k->high;
    if (is_good && k->check != NULL) {
        is_good = kind_matches(k->check, text) == 1;
    }
    if (!is_good) {
        Py_DECREF(text);
        return NULL;
    }
    return text;
}

static PyObject *read_octets(kind *k, reader *in)
{
    uint64_t size = 0;
    if (!wire_counted(in, MAJOR_BYTES, k->low, k->high, &size)) {
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)in->at, (Py_ssize_t)size);
    in->at += size;
    return bytes;
}

static PyObject *read_enum(kind *k, reader *in)
{
    PyObject *number = read_int(k, in);
    if (number == NULL) {
        return NULL;
    }
    PyObject *member = PyDict_GetItemWithError(k->check, number);
    Py_DECREF(number);
    Py_XINCREF(member);
    return member;
}

static PyObject *read_list(kind *k, reader *in)
{
    uint64_t count = 0;
    if (!wire_counted(in, MAJOR_ARRAY, 0, k->high, &count)) {
        return NULL;
    }
    PyObject *items = PyTuple_New((Py_ssize_t)count);
    for (uint64_t i = 0; items != NULL && i < count; i++) {
        PyObject *item = kind_read_item(k->of, in);
        if (item == NULL || PyTuple_SetItem(items, (Py_ssize_t)i, item) < 0) {
            Py_CLEAR(items);
        }
    }
    return items;
}

/* Keys of one major type are in order where each is longer than the one before, or follows it. */
static bool is_after(const uint8_t *key, size_t size, const uint8_t *before, size_t before_size)
{
    if (before == NULL) {
        return true;
    }
    if (*key >> 5 != *before >> 5) {
        return false;
    }
    return size > before_size || (size == before_size && memcmp(key, before, size) > 0);
}

static bool read_entry(kind *k, reader *in, PyObject *entries, reader *before)
{
    const uint8_t *start = in->at;
    PyObject *key = kind_read_item(k->key, in);
    if (key == NULL) {
        return false;
    }
    size_t size = (size_t)(in->at - start);
    bool is_good = is_after(start, size, before->at, (size_t)(before->end - before->at));
    *before = (reader){start, in->at};
    PyObject *value = is_good ? kind_read_item(k->of, in) : NULL;
    is_good = value != NULL && PyDict_SetItem(entries, key, value) == 0;
    Py_DECREF(key);
    Py_XDECREF(value);
    return is_good;
}

static PyObject *read_map(kind *k, reader *in)
{
    uint64_t count = 0;
    reader before = {NULL, NULL};
    if (!wire_counted(in, MAJOR_MAP, 0, k->high, &count)) {
        return NULL;
    }
    PyObject *entries = PyDict_New();
    for (uint64_t i = 0; entries != NULL && i < count; i++) {
        if (!read_entry(k, in, entries, &before)) {
            Py_CLEAR(entries);
        }
    }
    return entries;
}

static bool set_default(const column *c, PyObject *record)
{
    if (!PyDict_Check(c->unset)) {
        return c->set(c->slot, record, c->unset) == 0;
    }
    PyObject *copy = PyDict_Copy(c->unset);
    bool is_set = copy != NULL && c->set(c->slot, record, copy) == 0;
    Py_XDECREF(copy);
    return is_set;
}

static bool read_field(kind *k, const column *c, reader *in, PyObject *record)
{
    PyObject *value = kind_read_item(c->of, in);
    if (value == NULL) {
        return false;
    }
    bool is_good = true;
    if (k->is_strict && c->unset != NULL) {  /* a default must be left out */
        is_good = PyObject_RichCompareBool(value, c->unset, Py_EQ) == 0;
    }
    is_good = is_good && c->set(c->slot, record, value) == 0;
    Py_DECREF(value);
    return is_good;
}

/* Columns and keys both rise by their encoding: one walk meets every column once. */
static bool read_fields(kind *k, uint64_t count, reader *in, PyObject *record)
{
    size_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t key = 0;
        if (!wire_key(in, &key)) {
            return false;
        }
        while (at < k->column_count && k->columns[at].key != key) {
            if (k->columns[at].unset == NULL || !set_default(&k->columns[at], record)) {
                return false;
            }
            at++;
        }
        if (at == k->column_count || !read_field(k, &k->columns[at], in, record)) {
            return false;
        }
        at++;
    }
    for (; at < k->column_count; at++) {
        if (k->columns[at].unset == NULL || !set_default(&k->columns[at], record)) {
            return false;
        }
    }
    return true;
}

static PyObject *read_record(kind *k, reader *in)
{
    uint64_t count = 0;
    if (!wire_counted(in, MAJOR_MAP, 0, k->column_count, &count)) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(k->made, Py_tp_alloc);
    PyObject *record = allocate(k->made, 0);
    if (record != NULL && !read_fields(k, count, in, record)) {
        Py_CLEAR(record);
    }
    return record;
}

PyObject *kind_read_item(kind *k, reader *in)
{
    switch (k->name) {
        case KIND_INT: return read_int(k, in);
        case KIND_REAL: return read_real(k, in);
        case KIND_BOOL: return read_bool(in);
        case KIND_TEXT: return read_text(k, in);
        case KIND_OCTETS: return read_octets(k, in);
        case KIND_ENUM: return read_enum(k, in);
        case KIND_LIST: return read_list(k, in);
        case KIND_MAP: return read_map(k, in);
        case KIND_RECORD: return read_record(k, in);
    }
    return NULL;
}
