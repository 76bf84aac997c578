/* From Python values to bytes; see kind.h. A function that returns false without an exception gives
 * up, and leaves what it has written so far to nobody. */

#include "kind.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 64u                       /* of one message; one with more is the table's */
#define ROOM_MIN 256u

/* Room for `size` bytes more; NULL with an exception. */
static uint8_t *more(writer *out, size_t size)
{
    if (out->room - out->used < size) {
        size_t room = out->room < ROOM_MIN ? ROOM_MIN : 2 * out->room;
        while (room - out->used < size) {
            room *= 2;
        }
        uint8_t *bytes = PyMem_Realloc(out->bytes, room);
        if (bytes == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        out->bytes = bytes;
        out->room = room;
    }
    return out->bytes + out->used;
}

static bool write_head(writer *out, unsigned major, uint64_t argument)
{
    uint8_t *to = more(out, WIRE_ITEM_MAX);
    if (to == NULL) {
        return false;
    }
    out->used += wire_write_head(to, major, argument);
    return true;
}

static bool write_string(writer *out, unsigned major, const char *bytes, size_t size)
{
    uint8_t *to = write_head(out, major, size) ? more(out, size) : NULL;
    if (to == NULL) {
        return false;
    }
    memcpy(to, bytes, size);
    out->used += size;
    return true;
}

/* A number within the kind's bounds. */
static bool write_number(kind *k, PyObject *value, writer *out)
{
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0 && number < 0) {
        return !PyErr_Occurred() && number >= k->low_negative
            && write_head(out, MAJOR_NEGATIVE, (uint64_t)(-1 - number));
    }
    unsigned long long size = (unsigned long long)number;
    if (overflow != 0) {
        size = overflow > 0 ? PyLong_AsUnsignedLongLong(value) : 0;
        if (overflow < 0 || PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
    }
    return size >= k->low && size <= k->high && write_head(out, MAJOR_UNSIGNED, size);
}

static bool write_int(kind *k, PyObject *value, writer *out)
{
    return PyLong_CheckExact(value) && write_number(k, value, out);
}

/* A float, or a whole number that is one exactly. */
static bool take_real(PyObject *value, double *number)
{
    static const double exact_max = 9007199254740992.0; /* 2 to the 53rd */
    if (PyFloat_CheckExact(value)) {
        *number = PyFloat_AsDouble(value);
        return true;
    }
    if (!PyLong_CheckExact(value)) {
        return false;
    }
    *number = PyLong_AsDouble(value);
    if (PyErr_Occurred()) {                  /* one that no float can hold */
        PyErr_Clear();
        return false;
    }
    return fabs(*number) < exact_max;
}

static bool write_real(kind *k, PyObject *value, writer *out)
{
    double number = 0;
    if (!take_real(value, &number) || !isfinite(number)) {
        return false;
    }
    if (number < k->low_real || number > k->high_real) {
        return false;
    }
    uint8_t *to = more(out, WIRE_ITEM_MAX);
    if (to == NULL) {
        return false;
    }
    out->used += wire_write_float(to, number);
    return true;
}

static bool write_bool(PyObject *value, writer *out)
{
    uint8_t *to = PyBool_Check(value) ? more(out, 1) : NULL;
    if (to == NULL) {
        return false;
    }
    *to = value == Py_True ? 0xF5 : 0xF4;
    out->used++;
    return true;
}

static bool write_text(kind *k, PyObject *value, writer *out)
{
    if (!PyUnicode_CheckExact(value) || (uint64_t)PyUnicode_GetLength(value) > k->high) {
        return false;
    }
    if (k->check != NULL && kind_matches(k->check, value) != 1) {
        return false;
    }
    Py_ssize_t size = 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(value, &size);
    if (bytes == NULL) {
        PyErr_Clear();                       /* the table names the character */
        return false;
    }
    return write_string(out, MAJOR_TEXT, bytes, (size_t)size);
}

static bool write_octets(kind *k, PyObject *value, writer *out)
{
    if (!PyBytes_CheckExact(value)) {
        return false;
    }
    uint64_t size = (uint64_t)PyBytes_Size(value);
    return size >= k->low && size <= k->high
        && write_string(out, MAJOR_BYTES, PyBytes_AsString(value), (size_t)size);
}

/* Only the very members that the kind knows: another enum's number may be the same. */
static bool write_enum(kind *k, PyObject *value, writer *out)
{
    if (!PyLong_Check(value) || PyLong_CheckExact(value)) {
        return false;
    }
    PyObject *number = PyNumber_Long(value);
    if (number == NULL) {
        return false;
    }
    PyObject *member = PyDict_GetItemWithError(k->check, number);
    bool is_good = member == value && write_number(k, number, out);
    Py_DECREF(number);
    return is_good;
}

static bool write_list(kind *k, PyObject *value, writer *out)
{
    if (!PyTuple_CheckExact(value)) {
        return false;
    }
    Py_ssize_t count = PyTuple_Size(value);
    bool is_good = (uint64_t)count <= k->high && write_head(out, MAJOR_ARRAY, (uint64_t)count);
    for (Py_ssize_t i = 0; is_good && i < count; i++) {
        is_good = kind_write_item(k->of, PyTuple_GetItem(value, i), out);
    }
    return is_good;
}

/* One entry of a map: where its key begins and ends, and where its value ends. */
typedef struct {
    const uint8_t *at;
    size_t key_size, size;
} entry;

/* Deterministic order: that of the encoded keys, byte by byte. */
static int in_order(const void *a, const void *b)
{
    const entry *one = a;
    const entry *other = b;
    size_t shared = one->key_size < other->key_size ? one->key_size : other->key_size;
    int order = memcmp(one->at, other->at, shared);
    if (order == 0) {
        order = one->key_size > other->key_size ? 1 : -1;
    }
    return order;
}

/* The entries from `start` on, which stand there as they came, in order. */
static bool sort_entries(entry *entries, size_t count, size_t start, writer *out)
{
    const uint8_t *at = out->bytes + start;
    bool is_sorted = true;
    for (size_t i = 0; i < count; i++) {     /* only now does the buffer stay where it is */
        entries[i].at = at;
        at += entries[i].size;
        is_sorted = is_sorted && (i == 0 || in_order(&entries[i - 1], &entries[i]) < 0);
    }
    if (is_sorted) {
        return true;
    }
    uint8_t *sorted = PyMem_Malloc(out->used - start);
    if (sorted == NULL) {
        PyErr_NoMemory();
        return false;
    }
    qsort(entries, count, sizeof *entries, in_order);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(sorted + used, entries[i].at, entries[i].size);
        used += entries[i].size;
    }
    memcpy(out->bytes + start, sorted, used);
    PyMem_Free(sorted);
    return true;
}

/* One entry, as it comes; its key and its value are held while Python may run in between. */
static bool write_entry(kind *k, PyObject *key, PyObject *item, size_t first, entry *made,
                        writer *out)
{
    size_t begin = out->used;
    Py_INCREF(key);
    Py_INCREF(item);
    bool is_good = kind_write_item(k->key, key, out);
    made->key_size = out->used - begin;
    if (is_good) {                           /* keys of two major types have no order of ours */
        is_good = out->bytes[begin] >> 5 == out->bytes[first] >> 5;
    }
    is_good = is_good && kind_write_item(k->of, item, out);
    made->size = out->used - begin;
    Py_DECREF(key);
    Py_DECREF(item);
    return is_good;
}

static bool write_entries(kind *k, PyObject *value, size_t room, entry *entries, writer *out)
{
    PyObject *key = NULL;
    PyObject *item = NULL;
    Py_ssize_t place = 0;
    size_t count = 0;
    size_t start = out->used;
    while (count < room && PyDict_Next(value, &place, &key, &item)) {
        if (!write_entry(k, key, item, start, &entries[count], out)) {
            return false;
        }
        count++;
    }
    return count == room && sort_entries(entries, count, start, out);
}

static bool write_map(kind *k, PyObject *value, writer *out)
{
    if (!PyDict_CheckExact(value)) {
        return false;
    }
    Py_ssize_t count = PyDict_Size(value);
    if ((uint64_t)count > k->high || !write_head(out, MAJOR_MAP, (uint64_t)count)) {
        return false;
    }
    if (count == 0) {
        return true;
    }
    entry *entries = PyMem_Calloc((size_t)count, sizeof *entries);
    if (entries == NULL) {
        PyErr_NoMemory();
        return false;
    }
    bool is_good = write_entries(k, value, (size_t)count, entries, out);
    PyMem_Free(entries);
    return is_good;
}

/* The values that stand on the wire, each with a reference; those with their default are NULL. */
static bool take_values(kind *k, PyObject *record, PyObject **values, size_t *count)
{
    for (size_t i = 0; i < k->column_count; i++) {
        const column *c = &k->columns[i];
        values[i] = c->get(c->slot, record, (PyObject *)k->made);
        if (values[i] == NULL) {
            return false;
        }
        int is_default = 0;
        if (c->unset != NULL) {
            is_default = PyObject_RichCompareBool(values[i], c->unset, Py_EQ);
        }
        if (is_default < 0) {
            return false;
        }
        if (is_default) {
            Py_CLEAR(values[i]);
        }
        *count += !is_default;
    }
    return true;
}

static bool write_record(kind *k, PyObject *record, writer *out)
{
    PyObject *values[FIELDS_MAX] = {NULL};
    size_t count = 0;
    if (Py_TYPE(record) != k->made || k->column_count > FIELDS_MAX) {
        return false;
    }
    bool is_good = take_values(k, record, values, &count) && write_head(out, MAJOR_MAP, count);
    for (size_t i = 0; i < k->column_count; i++) {
        if (is_good && values[i] != NULL) {
            uint8_t *to = more(out, WIRE_ITEM_MAX);
            is_good = to != NULL;
            if (is_good) {
                out->used += wire_write_key(to, k->columns[i].key);
                is_good = kind_write_item(k->columns[i].of, values[i], out);
            }
        }
        Py_XDECREF(values[i]);
    }
    return is_good;
}

bool kind_write_item(kind *k, PyObject *value, writer *out)
{
    switch (k->name) {
        case KIND_INT: return write_int(k, value, out);
        case KIND_REAL: return write_real(k, value, out);
        case KIND_BOOL: return write_bool(value, out);
        case KIND_TEXT: return write_text(k, value, out);
        case KIND_OCTETS: return write_octets(k, value, out);
        case KIND_ENUM: return write_enum(k, value, out);
        case KIND_LIST: return write_list(k, value, out);
        case KIND_MAP: return write_map(k, value, out);
        case KIND_RECORD: return write_record(k, value, out);
    }
    return false;
}
