/* Reads a message straight from its bytes, for the one encoding that it can have, and writes it.
 *
 * Rules:
 * 1. `Kind.read` and `Kind.write` give what `wherry_protocol.codec.table` gives for the same bytes,
 *    or the same message, or None: "look for yourself". They never refuse a message, so they never
 *    have to say why.
 * 2. Nothing is believed before it was counted: every length is compared with the bytes that are
 *    left and with the bound of its field before anything is made of it.
 * 3. Deterministic encoding (RFC 8949, 4.2): shortest heads, shortest floats, keys in order. What
 *    is legal CBOR and rare (tags, null, NaN, large negative numbers) is left to the table.
 *
 * Python's stable ABI, 3.11 and later.
 */

#ifndef WHERRY_KIND_H
#define WHERRY_KIND_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000

#include <Python.h>

#include "wire.h"

typedef enum {
    KIND_INT,
    KIND_REAL,
    KIND_BOOL,
    KIND_TEXT,
    KIND_OCTETS,
    KIND_ENUM,
    KIND_LIST,
    KIND_MAP,
    KIND_RECORD
} kind_name;

typedef struct kind kind;

typedef struct {
    uint16_t key;                            /* as encoded: 0xKK, or 0x18KK from 24 on */
    PyObject *slot;                          /* the class's descriptor of the field */
    descrgetfunc get;
    descrsetfunc set;
    kind *of;
    PyObject *unset;                         /* the default; NULL: the field must be there */
} column;

struct kind {
    PyObject_HEAD
    kind_name name;
    uint64_t low, high;                      /* INT (high), and lengths and counts of others */
    int64_t low_negative;                    /* INT: 0, or the lowest that is allowed */
    double low_real, high_real;
    PyObject *check;                         /* TEXT: a pattern's fullmatch; ENUM: its members */
    kind *key, *of;                          /* MAP: both; LIST: of */
    PyTypeObject *made;                      /* RECORD: what is made */
    bool is_strict;
    size_t column_count;
    column *columns;
};

/* The next item, of that kind. NULL with an exception, or without one: look for yourself. */
PyObject *kind_read_item(kind *k, reader *in);

/* Whether the pattern matches the whole text; -1 with an exception. */
int kind_matches(PyObject *fullmatch, PyObject *text);

/* Bytes that grow; what `bytes` points to is the owner's to free. */
typedef struct {
    uint8_t *bytes;
    size_t used, room;
} writer;

/* Appends the value's one encoding. False with an exception, or without one: look for yourself. */
bool kind_write_item(kind *k, PyObject *value, writer *out);

#endif
