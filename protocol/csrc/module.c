/* The module `wherry_protocol.codec._quick`: makes kinds, and uses them; see kind.h. */

#include "kind.h"

static PyObject *kind_read(PyObject *self, PyObject *data)
{
    char *bytes = NULL;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(data, &bytes, &size) < 0) {
        return NULL;
    }
    reader in = {(const uint8_t *)bytes, (const uint8_t *)bytes + size};
    PyObject *found = kind_read_item((kind *)self, &in);
    if (found != NULL && in.at == in.end) {
        return found;
    }
    Py_XDECREF(found);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *kind_write(PyObject *self, PyObject *message)
{
    writer out = {NULL, 0, 0};
    PyObject *bytes = NULL;
    if (kind_write_item((kind *)self, message, &out)) {
        bytes = PyBytes_FromStringAndSize((const char *)out.bytes, (Py_ssize_t)out.used);
    }
    PyMem_Free(out.bytes);
    if (bytes != NULL || PyErr_Occurred()) {
        return bytes;
    }
    Py_RETURN_NONE;
}

static kind *new_kind(PyTypeObject *type, kind_name name)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    kind *k = (kind *)allocate(type, 0);     /* all zero */
    if (k != NULL) {
        k->name = name;
    }
    return k;
}

static void drop(void *object)
{
    Py_XDECREF((PyObject *)object);
}

static void kind_dealloc(PyObject *self)
{
    kind *k = (kind *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (size_t i = 0; i < k->column_count; i++) {
        drop(k->columns[i].slot);
        drop(k->columns[i].of);
        drop(k->columns[i].unset);
    }
    PyMem_Free(k->columns);
    drop(k->check);
    drop(k->key);
    drop(k->of);
    drop(k->made);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    drop(type);
}

/* (low, high): where low is not negative it is `low`, else `low_negative`. */
static PyObject *make_int(PyObject *type, PyObject *arguments)
{
    PyObject *low = NULL;
    unsigned long long high = 0;
    if (!PyArg_ParseTuple(arguments, "OK:int", &low, &high)) {
        return NULL;
    }
    long long lowest = PyLong_AsLongLong(low);
    if (lowest == -1 && PyErr_Occurred()) {
        return NULL;
    }
    kind *k = new_kind((PyTypeObject *)type, KIND_INT);
    if (k != NULL) {
        k->low = lowest > 0 ? (uint64_t)lowest : 0;
        k->low_negative = lowest < 0 ? lowest : 0;
        k->high = high;
    }
    return (PyObject *)k;
}

static PyObject *make_real(PyObject *type, PyObject *arguments)
{
    double low = 0;
    double high = 0;
    if (!PyArg_ParseTuple(arguments, "dd:real", &low, &high)) {
        return NULL;
    }
    kind *k = new_kind((PyTypeObject *)type, KIND_REAL);
    if (k != NULL) {
        k->low_real = low;
        k->high_real = high;
    }
    return (PyObject *)k;
}

static PyObject *make_bool(PyObject *type, PyObject *nothing)
{
    (void)nothing;
    return (PyObject *)new_kind((PyTypeObject *)type, KIND_BOOL);
}

/* (characters at most, a pattern's fullmatch or None) */
static PyObject *make_text(PyObject *type, PyObject *arguments)
{
    PyObject *check = NULL;
    unsigned long long high = 0;
    if (!PyArg_ParseTuple(arguments, "KO:text", &high, &check)) {
        return NULL;
    }
    kind *k = new_kind((PyTypeObject *)type, KIND_TEXT);
    if (k != NULL) {
        k->high = high;
        if (check != Py_None) {
            Py_INCREF(check);
            k->check = check;
        }
    }
    return (PyObject *)k;
}

/* (bytes at least, bytes at most) */
static PyObject *make_octets(PyObject *type, PyObject *arguments)
{
    unsigned long long low = 0;
    unsigned long long high = 0;
    if (!PyArg_ParseTuple(arguments, "KK:octets", &low, &high)) {
        return NULL;
    }
    kind *k = new_kind((PyTypeObject *)type, KIND_OCTETS);
    if (k != NULL) {
        k->low = low;
        k->high = high;
    }
    return (PyObject *)k;
}

/* (dict from number to member): every other number is left to the table */
static PyObject *make_enum(PyObject *type, PyObject *arguments)
{
    PyObject *members = NULL;
    if (!PyArg_ParseTuple(arguments, "O!:enum", &PyDict_Type, &members)) {
        return NULL;
    }
    kind *k = new_kind((PyTypeObject *)type, KIND_ENUM);
    if (k != NULL) {
        k->high = INT64_MAX;                 /* UINT_MAX of codec/fields.py */
        Py_INCREF(members);
        k->check = members;
    }
    return (PyObject *)k;
}

/* (kind of an item, items at most) */
static PyObject *make_list(PyObject *type, PyObject *arguments)
{
    PyObject *of = NULL;
    unsigned long long high = 0;
    if (!PyArg_ParseTuple(arguments, "O!K:list", type, &of, &high)) {
        return NULL;
    }
    kind *k = new_kind((PyTypeObject *)type, KIND_LIST);
    if (k != NULL) {
        Py_INCREF(of);
        k->of = (kind *)of;
        k->high = high;
    }
    return (PyObject *)k;
}

/* (kind of a key, kind of a value, entries at most) */
static PyObject *make_map(PyObject *type, PyObject *arguments)
{
    PyObject *key = NULL;
    PyObject *of = NULL;
    unsigned long long high = 0;
    if (!PyArg_ParseTuple(arguments, "O!O!K:map", type, &key, type, &of, &high)) {
        return NULL;
    }
    kind *k = new_kind((PyTypeObject *)type, KIND_MAP);
    if (k != NULL) {
        Py_INCREF(key);
        Py_INCREF(of);
        k->key = (kind *)key;
        k->of = (kind *)of;
        k->high = high;
    }
    return (PyObject *)k;
}

/* One of make_record's columns: (encoded key, slot, kind[, default]). */
static bool take_column(PyTypeObject *type, PyObject *row, column *c)
{
    unsigned short key = 0;
    PyObject *slot = NULL;
    PyObject *of = NULL;
    PyObject *unset = NULL;
    if (!PyArg_ParseTuple(row, "HOO!|O", &key, &slot, type, &of, &unset)) {
        return false;
    }
    descrgetfunc get = (descrgetfunc)PyType_GetSlot(Py_TYPE(slot), Py_tp_descr_get);
    descrsetfunc set = (descrsetfunc)PyType_GetSlot(Py_TYPE(slot), Py_tp_descr_set);
    if (get == NULL || set == NULL) {
        PyErr_SetString(PyExc_TypeError, "a slot must be a data descriptor");
        return false;
    }
    Py_INCREF(slot);
    Py_INCREF(of);
    Py_XINCREF(unset);
    *c = (column){key, slot, get, set, (kind *)of, unset};
    return true;
}

/* (class, columns in the order of their keys, strict?) */
static PyObject *make_record(PyObject *type, PyObject *arguments)
{
    PyObject *made = NULL;
    PyObject *rows = NULL;
    int is_strict = 0;
    if (!PyArg_ParseTuple(arguments, "O!O!p:record", &PyType_Type, &made, &PyTuple_Type, &rows,
                          &is_strict)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(rows);
    kind *k = new_kind((PyTypeObject *)type, KIND_RECORD);
    if (k == NULL) {
        return NULL;
    }
    Py_INCREF(made);
    k->made = (PyTypeObject *)made;
    k->is_strict = is_strict != 0;
    k->columns = PyMem_Calloc((size_t)count + 1, sizeof *k->columns);
    while (k->columns != NULL && (Py_ssize_t)k->column_count < count) {
        PyObject *row = PyTuple_GetItem(rows, (Py_ssize_t)k->column_count);
        if (!take_column((PyTypeObject *)type, row, &k->columns[k->column_count])) {
            drop(k);
            return NULL;
        }
        k->column_count++;
    }
    if (k->columns == NULL) {
        drop(k);
        return PyErr_NoMemory();
    }
    return (PyObject *)k;
}

static PyMethodDef kind_methods[] = {
    {"read", kind_read, METH_O, "What these bytes are, or None where the table must look."},
    {"write", kind_write, METH_O, "The message's one encoding, or None where the table must look."},
    {"int", make_int, METH_VARARGS | METH_CLASS, NULL},
    {"real", make_real, METH_VARARGS | METH_CLASS, NULL},
    {"bool", make_bool, METH_NOARGS | METH_CLASS, NULL},
    {"text", make_text, METH_VARARGS | METH_CLASS, NULL},
    {"octets", make_octets, METH_VARARGS | METH_CLASS, NULL},
    {"enum", make_enum, METH_VARARGS | METH_CLASS, NULL},
    {"list", make_list, METH_VARARGS | METH_CLASS, NULL},
    {"map", make_map, METH_VARARGS | METH_CLASS, NULL},
    {"record", make_record, METH_VARARGS | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot kind_slots[] = {
    {Py_tp_doc, "How one type of field, or a whole message, stands on the wire."},
    {Py_tp_methods, kind_methods},
    {Py_tp_dealloc, (void *)kind_dealloc},
    {0, NULL},
};

static PyType_Spec kind_spec = {
    .name = "wherry_protocol.codec._quick.Kind",
    .basicsize = sizeof(kind),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = kind_slots,
};

static int fill_module(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&kind_spec);
    if (type == NULL) {
        return -1;
    }
    int status = PyModule_AddObjectRef(module, "Kind", type);
    Py_DECREF(type);
    return status;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)fill_module},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "wherry_protocol.codec._quick",
    .m_doc = "Messages straight from their bytes and to them.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__quick(void);

PyMODINIT_FUNC PyInit__quick(void)
{
    return PyModuleDef_Init(&module_definition);
}
